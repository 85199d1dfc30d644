/**
 * What a node publishes. The publications of one turn of the event loop share a call of append.lua, so that they share a round
 * trip and the look at the fence. Each has an answer of its own; where a call's answer is missing, the outcome of all is unknown.
 */
import { type Appended, BrokerUnavailable, type Condition, type Publication } from "../../topic/broker.ts";
import { publicationDigest } from "../../topic/digest.ts";
import { feedsOf } from "../../topic/feed.ts";
import { isRemoval, keyOf } from "../../topic/key.ts";
import { formatId } from "../../topic/message.ts";
import { type HistoryLimits, limitsOf } from "../../topic/retention.ts";
import { isKeyed as isKeyedTopic, type KindsOfTopics } from "../engine.ts";
import { Epochs } from "../epochs.ts";
import { encodeDraft, encodeFed, encodeKeyedDraft } from "./entry.ts";
import type { RedisKeys } from "./keys.ts";
import type { Argument, Reply } from "./link.ts";
import type { Primary } from "./primary.ts";
import { appendedOf, claimOf, fedPositionsOf } from "./replies.ts";
import type { Claim, Testimony } from "./testimony.ts";

/** Publications in flight, and their bytes; of a text its characters. Beyond it they are refused at once: Redis is too slow for them. */
const publishesMax = 10_000;
const publishBytesMax = 64 * 1024 * 1024;

/**
 * Messages in one call, and their bytes, unless one publication has more. Redis serves nobody else meanwhile: so many take it
 * about 1 ms. More save nothing: the look at the fence is then less than a fiftieth of a call. An end alone counts as one.
 * Each message counts once more for each feed, where it is written again: a call then begins fewer epochs than three digits name
 * (append.lua).
 */
const messagesPerCallMax = 128;
const bytesPerCallMax = 256 * 1024;

export interface AppendsDeps {
  readonly limits: HistoryLimits & KindsOfTopics;
  readonly keys: RedisKeys;
  readonly primary: Primary;
  readonly testimony: Testimony;
}

interface WaitingPublication {
  readonly topic: string;
  readonly publication: Publication;
  readonly isKeyed: boolean;
  /** It only takes keys away, which a full server must not refuse. */
  readonly isRemoving: boolean;
  /** The publisher's parts of the entries. */
  readonly contents: readonly Argument[];
  /** Topics that get it, too, and what they get. */
  readonly feeds: readonly string[];
  readonly fed: readonly Argument[];
  /** Of all that is sent: each message once, also where it has feeds. */
  readonly bytes: number;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: unknown) => void;
}

export class Appends {
  readonly #deps: AppendsDeps;
  readonly #epochs = new Epochs();
  /** Those of this turn. */
  #waiting: WaitingPublication[] = [];
  #publishes = 0;
  #bytes = 0;

  constructor(deps: AppendsDeps) {
    this.#deps = deps;
  }

  get inFlight(): number {
    return this.#publishes;
  }

  /** @throws what `Broker.publish` throws */
  publish(topic: string, publication: Publication): Promise<Appended> {
    const { promise, resolve, reject } = Promise.withResolvers<Appended>();
    const { drafts, end = false } = publication;
    const { limits } = this.#deps;
    const isKeyed = isKeyedTopic(limits, topic);
    const isRemoving = isKeyed && drafts.length > 0 && drafts.every(isRemoval);
    const contents = drafts.map(isKeyed ? encodeKeyedDraft : encodeDraft);
    const feeds = drafts.length > 0 || end ? feedsOf(limits.feeds, topic) : [];
    const fed = feeds.length > 0 ? encodeFed(drafts, end, topic) : [];
    let bytes = 0;
    for (const content of contents) bytes += content.length;
    for (const content of fed) bytes += content.length;
    if (this.#publishes >= publishesMax || this.#bytes + bytes > publishBytesMax)
      return Promise.reject(new BrokerUnavailable("too many publications wait for Redis"));
    this.#publishes++;
    this.#bytes += bytes;
    if (this.#waiting.length === 0) setImmediate(() => this.flush());
    const encoded = { isKeyed, isRemoving, contents, feeds, fed, bytes };
    this.#waiting.push({ topic, publication, ...encoded, resolve, reject });
    return promise;
  }

  /** Sends what waits for the end of the turn. */
  flush(): void {
    let call: WaitingPublication[] = [];
    let messages = 0;
    let bytes = 0;
    for (const waiting of this.#waiting) {
      const waitingMessages = Math.max(1, waiting.contents.length) * (1 + waiting.feeds.length);
      const waitingBytes = waiting.bytes * (1 + waiting.feeds.length);
      messages += waitingMessages;
      bytes += waitingBytes;
      // What a script has written lets it go on: with a removal in its call a full server would take all that follow.
      const isApart = call[0] !== undefined && call[0].isRemoving !== waiting.isRemoving;
      if (isApart || (call.length > 0 && (messages > messagesPerCallMax || bytes > bytesPerCallMax))) {
        void this.#call(call);
        call = [];
        messages = waitingMessages;
        bytes = waitingBytes;
      }
      call.push(waiting);
    }
    this.#waiting = [];
    if (call.length > 0) void this.#call(call);
  }

  /** Appends in one call, and settles its publications. */
  async #call(call: readonly WaitingPublication[]): Promise<void> {
    const { primary } = this.#deps;
    try {
      const reply = await primary.acknowledged(() => this.#send(call));
      const [reached = "", ...answers] = String(reply).split("\n");
      this.#settle(call, answers, claimOf(reached));
    } catch (error) {
      for (const { reject } of call) reject(error);
    }
    this.#publishes -= call.length;
    for (const { bytes } of call) this.#bytes -= bytes;
  }

  #settle(call: readonly WaitingPublication[], answers: readonly string[], claim: Claim): void {
    if (answers.length !== call.length)
      throw new Error(`Redis answered ${call.length} publications with ${answers.length} answers`);
    const { primary, testimony } = this.#deps;
    let isAcknowledged = false;
    for (const [index, { topic, isKeyed, feeds, resolve, reject }] of call.entries()) {
      try {
        const answer = answers[index] ?? "";
        const appended = appendedOf(topic, answer, isKeyed);
        testimony.acknowledged(topic, appended.end ?? appended.message);
        if (feeds.length > 0)
          for (const [nth, position] of fedPositionsOf(answer).entries())
            testimony.acknowledged(feeds[nth] ?? "", position);
        isAcknowledged = true;
        resolve(appended);
      } catch (error) {
        reject(error);
      }
    }
    if (!isAcknowledged) return; // Nothing was written, so no replica has acknowledged what others have appended.
    testimony.claimed(claim);
    primary.acknowledgedIn(claim.generation);
  }

  #send(call: readonly WaitingPublication[]): Promise<Reply> {
    const keys: string[] = [];
    const values: Argument[] = [this.#epochs.next(), this.#deps.keys.channelsBegin];
    for (const waiting of call) this.#add(waiting, keys, values);
    return this.#deps.primary.script("append", keys, values);
  }

  /** Adds what append.lua takes for a publication. */
  #add(
    { topic, publication, isKeyed, contents, feeds, fed }: WaitingPublication,
    keys: string[],
    values: Argument[],
  ): void {
    const { limits, keys: names } = this.#deps;
    const { once, step, end } = publication;
    const { messages, ageSeconds } = limitsOf(limits, topic);
    const kind = once ? "once" : step ? "step" : "none";
    const shape = `${ageSeconds * 1000} ${end ? 1 : 0} ${contents.length} ${kind}`;
    const ofFeeds = feeds.length > 0 ? ` ${feeds.length}` : "";
    keys.push(names.name(topic));
    if (isKeyed)
      values.push(`${limits.keysMax} ${shape} keyed${ofFeeds}`, conditionOf(publication.condition));
    else values.push(`${messages} ${shape}${ofFeeds}`);
    if (once) {
      keys.push(names.record(topic, once));
      values.push(publicationDigest(publication));
    } else if (step) {
      const { writer, items, digest, first } = step;
      keys.push(names.record(topic, step.once));
      const given = first ? `${first.epoch}:${first.offset}` : "-";
      values.push(encodeURIComponent(writer), String(items), given, digest);
    }
    if (!isKeyed) values.push(...contents);
    else
      for (const [index, draft] of publication.drafts.entries())
        values.push(keyOf(draft), contents[index] ?? "");
    values.push(...fed);
    for (const feed of feeds) {
      const kept = limitsOf(limits, feed);
      keys.push(names.name(feed));
      values.push(`${kept.messages} ${kept.ageSeconds * 1000} 0 ${fed.length} feed`);
    }
  }
}

/** As append-keyed.lua takes it. */
function conditionOf(condition: Condition | undefined): string {
  if (!condition) return "-";
  if (condition.kind === "at") return `=,${condition.positions.map(formatId).join()}`;
  return condition.kind === "absent" ? "!" : "*";
}
