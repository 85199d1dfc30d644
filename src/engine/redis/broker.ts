/**
 * The engine of many nodes: topics in Redis. Each step is one script at the primary (scripts.ts), so that nothing can be kept
 * and not announced, and so that each step notices a server that may have lost something (fence.lua).
 *
 * Two connections: one for commands, one for announcements. docs/clustering.md says what is promised and why.
 */
import type { Logger } from "../../log.ts";
import {
  type Appended,
  type Broker,
  type BrokerListener,
  type BrokerState,
  type BrokerTraits,
  BrokerUnavailable,
  type History,
  IdempotencyConflict,
  type Once,
  type Page,
  type Publication,
  type StreamRecord,
  type TopicState,
} from "../../topic/broker.ts";
import type { End, Message, Position, Since, TopicPosition } from "../../topic/message.ts";
import { type HistoryLimits, limitsOf } from "../../topic/retention.ts";
import { Epochs } from "../epochs.ts";
import { publicationDigest } from "../idempotency.ts";
import { Acknowledging } from "./acknowledging.ts";
import { Beat, type Fence } from "./beat.ts";
import { Counts } from "./counts.ts";
import { decodeEntry, encodeDraft } from "./entry.ts";
import { Keys } from "./keys.ts";
import { type Argument, Connection, Link, type Reply, reasonOf } from "./link.ts";
import { Near, requireReplica } from "./near.ts";
import { appendedOf, arrayOf, historyOf, placeOf, positionOf } from "./replies.ts";
import { type ScriptName, scriptTexts } from "./scripts.ts";
import { parseInfo, refusalOf, warningsOf } from "./server.ts";
import { Testimony } from "./testimony.ts";

export interface RedisBrokerSettings extends HistoryLimits {
  /** `redis://`, `rediss://` or `unix://`, with user, password and database. */
  readonly url: string;
  /** Begins the name of every key and channel. */
  readonly prefix: string;
  /** Replicas that must have a message before its publisher is answered. */
  readonly acknowledge: number;
  /** Whether the operator says that a failover loses no acknowledged message. */
  readonly losslessFailover: boolean;
  /** The nearest replica, for announcements and history; undefined for none. */
  readonly replicaUrl?: string;
  readonly positionAgeSeconds: number;
  /** Milliseconds to add to the clock of Redis, in Lua. Only tests have it. */
  readonly clockAhead?: string;
}

/** Publications in flight, and their bytes. Beyond it they are refused at once: Redis is too slow for them. */
const publishesMax = 10_000;
const publishBytesMax = 64 * 1024 * 1024;

/** Topics in one SUBSCRIBE, testimony or renewal. */
const topicsPerCommandMax = 1000;

/** Topics in one `inspect` script, which looks into each log. */
const inspectedPerCommandMax = 100;

/** How often a node compares its positions with Redis though nothing was missed: a belt for faults that no one foresaw. */
const comparisonSeconds = 60;

/** How often topics that this node hears are given another `positionAgeSeconds`, at least. */
const renewalSecondsMax = 3600;

/** Beats that fail in a row before the connection is given up: the address may lead to another server by now. */
const failedBeatsMax = 5;

/** How often a node that hears the primary looks whether its replica is back. */
const nearTrialSeconds = 5;

const closeMilliseconds = 1000;

export class RedisBroker implements Broker {
  readonly traits: BrokerTraits = { isShared: true, isInProcess: false, comparisonSeconds };
  /** How often a connection ended. */
  disconnects = 0;
  /** Takeovers with a possible loss that this node saw. */
  losses = 0;
  readonly #settings: RedisBrokerSettings;
  readonly #log: Logger;
  readonly #node = crypto.randomUUID();
  readonly #keys: Keys;
  readonly #epochs = new Epochs();
  readonly #commands: Link;
  readonly #announcements: Link;
  readonly #beat: Beat;
  readonly #counts: Counts;
  readonly #testimony = new Testimony();
  readonly #renewal: Timer;
  readonly #near: Near | undefined;
  readonly #nearTimer: Timer | undefined;
  /** Whether the connection of announcements leads, or is to lead, to the replica. */
  #isNear = false;
  /** Connections to the replica that failed since one was up. */
  #nearFailures = 0;
  /** The digests by which Redis knows the scripts. */
  #digests: ReadonlyMap<ScriptName, string> = new Map();
  #acknowledging: Acknowledging | undefined;
  #listener: BrokerListener | undefined;
  #fence: Fence | undefined;
  #reason = "Redis was not reached yet";
  #warnings = "";
  #failedBeats = 0;
  #publishes = 0;
  #publishBytes = 0;

  constructor(settings: RedisBrokerSettings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
    const database = Number(new URL(settings.url).pathname.slice(1)) || 0;
    this.#keys = new Keys(settings.prefix, settings.url.startsWith("unix:") ? 0 : database);
    this.#beat = new Beat({
      send: (beat) => this.#sendBeat(beat),
      missed: () => this.#listener?.missed(),
      deaf: () => this.#announcements.drop("announcements do not arrive"),
    });
    this.#counts = new Counts({
      node: this.#node,
      keys: this.#keys,
      publish: (channel, message) => this.#command(["PUBLISH", channel, message]),
      subscriberCount: (topic) => this.#listener?.subscriberCount(topic) ?? 0,
    });
    const options = { url: settings.url, name: "longwire" };
    const up = (): void => this.#up();
    const down = (reason: string): void => this.#down(reason);
    this.#commands = new Link({
      options: () => options,
      opened: (connection) => this.#prepareCommands(connection),
      up,
      down,
    });
    this.#announcements = new Link({
      options: () => ({ ...options, url: this.#announcementUrl() }),
      opened: (connection) => this.#prepareAnnouncements(connection),
      up,
      down: (reason) => {
        if (this.#isNear) this.#nearFailures++;
        down(reason);
      },
    });
    if (settings.replicaUrl) {
      this.#near = new Near({
        keys: this.#keys,
        settings,
        connection: () =>
          this.#isNear && this.#announcements.isUp ? this.#announcements.connection : undefined,
        generation: () => (this.#beat.isFresh ? this.#fence?.generation : undefined),
        known: (topic) => this.#testimony.known(topic),
      });
      this.#nearTimer = setInterval(
        () => this.#inBackground(this.#comeNear()),
        nearTrialSeconds * 1000,
      ).unref();
    }
    const renewalSeconds = Math.min(settings.positionAgeSeconds / 4, renewalSecondsMax);
    this.#renewal = setInterval(() => this.#renew(), renewalSeconds * 1000).unref();
  }

  get state(): BrokerState {
    const sinceTime = this.#fence?.lossyTime ?? Date.now();
    return this.#commands.isUp && this.#announcements.isUp
      ? { available: true, sinceTime }
      : { available: false, reason: this.#reason, sinceTime };
  }

  /** Rises with each takeover of the server. */
  get generation(): number {
    return this.#fence?.generation ?? 0;
  }

  /** How long the last beat took from this node through Redis and back. */
  get announcementDelaySeconds(): number {
    return this.#beat.delayMilliseconds / 1000;
  }

  /** Whether announcements come from the replica, and how many reads it and the primary answered; undefined without one. */
  get near(): { readonly isNear: boolean; readonly reads: Near["reads"] } | undefined {
    return this.#near && { isNear: this.#isNear && this.#announcements.isUp, reads: this.#near.reads };
  }

  get publishesInFlight(): number {
    return this.#publishes;
  }

  listen(listener: BrokerListener): void {
    this.#listener = listener;
  }

  async publish(topic: string, publication: Publication): Promise<Appended> {
    const payload = publication.draft ? encodeDraft(publication.draft) : nothing;
    if (this.#publishes >= publishesMax || this.#publishBytes + payload.length > publishBytesMax)
      throw new BrokerUnavailable("too many publications wait for Redis");
    this.#publishes++;
    this.#publishBytes += payload.length;
    try {
      const reply = await this.#acknowledged(() => this.#append(topic, payload, publication));
      const appended = appendedOf(topic, String(reply));
      const last = appended.end ?? appended.message;
      if (last) this.#testimony.acknowledged(topic, last);
      return appended;
    } finally {
      this.#publishes--;
      this.#publishBytes -= payload.length;
    }
  }

  async takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord> {
    const keys = [this.#keys.record(topic, once)];
    const reply = await this.#acknowledged(() => this.#script("take", keys, [encodeURIComponent(writer)]));
    if (!Array.isArray(reply)) throw new IdempotencyConflict();
    const [items, first, last, end, digest] = reply.map(String);
    return {
      items: Number(items),
      digest: digest ?? "",
      ...placeOf("first", first),
      ...placeOf("last", last),
      ...placeOf("end", end),
    };
  }

  async subscribe(topic: string): Promise<TopicPosition> {
    this.#testimony.subscribed(topic);
    const listener = this.#announced;
    await translated(this.#announcements.connection.subscribe([this.#keys.channel(topic)], listener));
    const near = await this.#near?.position(topic);
    if (!near) return await this.#enter(topic);
    this.#testimony.heard(topic, near);
    this.#inBackground(this.#touch(topic, near));
    return near;
  }

  /** Brings the topic into being at the primary, or keeps it for another while. */
  async #enter(topic: string): Promise<TopicPosition> {
    const keys = [this.#keys.position(topic), this.#keys.log(topic)];
    const position = positionOf(topic, await this.#script("subscribe", keys, [this.#epochs.next()]));
    this.#testimony.heard(topic, position);
    return position;
  }

  /** The same for a topic whose position a replica gave. */
  async #touch(topic: string, near: Position): Promise<void> {
    const { epoch } = await this.#enter(topic);
    if (epoch !== near.epoch) this.#listener?.missed(); // It was forgotten meanwhile, and begins anew.
  }

  unsubscribe(topic: string): void {
    if (!this.#testimony.unsubscribed(topic)) return;
    this.#leaveChannel(topic);
    // The position lives for its age from now on.
    if (this.#commands.isUp) this.#inBackground(this.#positions([topic], true));
  }

  async history(topic: string, since: Since, page: Page): Promise<History | undefined> {
    const keptMilliseconds = limitsOf(this.#settings, topic).ageSeconds * 1000;
    if (this.#near && since.kind === "position") {
      const found = await this.#near.history(topic, since.position, page, keptMilliseconds);
      if (found) return found;
    }
    const keys = [this.#keys.position(topic), this.#keys.log(topic)];
    const limits = [page.messagesMax, page.bytesMax, keptMilliseconds].map(String);
    const reply = await this.#script("read", keys, [...sinceArguments(since), ...limits]);
    return Array.isArray(reply) ? historyOf(topic, reply) : undefined;
  }

  positions(topics: readonly string[]): Promise<(TopicPosition | undefined)[]> {
    return this.#positions(topics, false);
  }

  async inspect(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    const states: (Omit<TopicState, "subscribers"> | undefined)[] = [];
    let nodes = 0;
    for (const piece of piecesOf(topics, inspectedPerCommandMax)) {
      const keys = piece.flatMap((topic) => [this.#keys.position(topic), this.#keys.log(topic)]);
      const ages = piece.map((topic) => String(limitsOf(this.#settings, topic).ageSeconds * 1000));
      const [live, ...found] = arrayOf(await this.#script("inspect", [this.#keys.nodes, ...keys], ages));
      nodes = Number(live);
      for (const [index, state] of found.entries())
        states.push(
          Array.isArray(state)
            ? { position: positionOf(piece[index] ?? "", state), retained: Number(state[3]) }
            : undefined,
        );
    }
    const counts = await translated(this.#counts.of(topics, nodes));
    return states.map((state, index) => state && { ...state, subscribers: counts[index] ?? 0 });
  }

  async close(): Promise<void> {
    clearInterval(this.#renewal);
    clearInterval(this.#nearTimer);
    this.#beat.stop();
    this.#listener = undefined;
    if (this.#commands.isUp) {
      // Answered after all that was sent before.
      const left = this.#command(["ZREM", this.#keys.nodes, this.#node]);
      await Promise.race([left.catch(() => undefined), Bun.sleep(closeMilliseconds)]);
    }
    await Promise.all([this.#commands.close(), this.#announcements.close()]);
  }

  /** Sends what appends, and waits until enough replicas have it. @throws {BrokerUnavailable} */
  async #acknowledged(append: () => Promise<Reply>): Promise<Reply> {
    const { acknowledge } = this.#settings;
    if (acknowledge === 0) return await append();
    const acknowledging = this.#acknowledging;
    if (acknowledging?.isShort) throw new BrokerUnavailable(`fewer than ${acknowledge} replicas acknowledge`);
    const [reply] = await Promise.all([append(), acknowledging?.wait()]);
    return reply;
  }

  #append(topic: string, payload: Buffer, publication: Publication): Promise<Reply> {
    const { once, step, end } = publication;
    const { messages, ageSeconds } = limitsOf(this.#settings, topic);
    const keys = [this.#keys.position(topic), this.#keys.log(topic)];
    const values = [
      this.#keys.channel(topic),
      payload,
      this.#epochs.next(),
      String(messages),
      String(ageSeconds * 1000),
      end ? "1" : "0",
    ];
    if (once) {
      keys.push(this.#keys.record(topic, once));
      values.push("once", publicationDigest(publication));
    } else if (step) {
      const { writer, items, digest, first } = step;
      keys.push(this.#keys.record(topic, step.once));
      const given = first ? `${first.epoch}:${first.offset}` : "-";
      values.push("step", encodeURIComponent(writer), String(items), given, digest);
    }
    return this.#script("append", keys, values);
  }

  async #positions(topics: readonly string[], renew: boolean): Promise<(TopicPosition | undefined)[]> {
    const positions: (Position | undefined)[] = [];
    for (const piece of piecesOf(topics, topicsPerCommandMax)) {
      const keys = piece.map((topic) => this.#keys.position(topic));
      const answers = arrayOf(await this.#script("positions", keys, [renew ? "1" : "0"]));
      for (const [index, topic] of piece.entries()) {
        const position = answers[index];
        const found = Array.isArray(position) ? positionOf(topic, position) : undefined;
        if (found) this.#testimony.heard(topic, found);
        positions.push(found);
      }
    }
    return positions;
  }

  #script(name: ScriptName, keys: readonly string[], values: readonly Argument[]): Promise<Reply> {
    return this.#command(this.#scriptCommand(name, keys, values));
  }

  #scriptCommand(name: ScriptName, keys: readonly string[], values: readonly Argument[]): Argument[] {
    return [
      "EVALSHA",
      this.#digests.get(name) ?? "",
      String(keys.length + 1),
      this.#keys.fence,
      ...keys,
      ...values,
    ];
  }

  async #command(command: readonly Argument[]): Promise<Reply> {
    const { connection } = this.#commands;
    try {
      return await connection.command(command);
    } catch (error) {
      // The scripts are gone. To load them now could bring a later publication before an earlier one.
      if (errorCode(error) === "NOSCRIPT") connection.end("Redis has forgotten the scripts");
      throw unavailable(error);
    }
  }

  readonly #announced = (entry: Buffer, channel: Buffer): void => {
    const topic = this.#keys.topicOf(channel);
    if (!this.#testimony.isSubscribed(topic)) {
      this.#leaveChannel(topic); // It was left while this connection was being opened.
      return;
    }
    let decoded: Message | End;
    try {
      decoded = decodeEntry(topic, entry);
    } catch (error) {
      this.#log.error({ err: error, topic }, "cannot read an announcement");
      return;
    }
    this.#testimony.heard(topic, decoded);
    this.#listener?.announced(decoded);
  };

  /** A beat of this node, or an answer to it. */
  readonly #heard = (message: Buffer): void => {
    if (message[0] === openingBrace) this.#counts.answered(message);
    else this.#beat.announced(message.toString());
  };

  async #sendBeat(beat: number): Promise<void> {
    const values = [this.#node, this.#keys.node(this.#node), String(beat)];
    try {
      this.#fenced(arrayOf(await this.#script("beat", [this.#keys.nodes], values)));
      this.#failedBeats = 0;
    } catch (error) {
      if (++this.#failedBeats >= failedBeatsMax) this.#commands.drop(reasonOf(error));
      throw error;
    }
    await this.#acknowledging?.tryAgain();
  }

  /** What the primary says of itself; after a takeover positions are to be compared. */
  #fenced(reply: readonly Reply[]): void {
    const [generation, lossy, lossyTime, replicas] = reply.map(Number);
    const before = this.#fence;
    this.#fence = {
      generation: generation ?? 0,
      lossy: lossy ?? 0,
      lossyTime: lossyTime ?? 0,
      replicas: replicas ?? 0,
    };
    if (before && before.generation !== generation) {
      const isLossy = before.lossy !== lossy;
      if (isLossy) this.losses++;
      this.#log.warn(
        { generation, lossy: isLossy },
        isLossy
          ? "Redis was replaced, flushed or restarted, and may have lost messages: topics begin new epochs"
          : "Redis was replaced or restarted, and lost nothing",
      );
      if (this.state.available) this.#listener?.missed();
    }
    const { losslessFailover, acknowledge } = this.#settings;
    if (losslessFailover && (replicas ?? 0) > acknowledge && before?.replicas !== replicas)
      this.#log.error(
        { replicas, acknowledge },
        "--redis-lossless-failover has no effect: --redis-acknowledge must be the number of replicas",
      );
  }

  async #prepareCommands(connection: Connection): Promise<void> {
    const info = parseInfo(String(await connection.command(["INFO"])));
    if (info.get("loading") === "1") throw new Error("Redis is loading its data");
    const refusal = refusalOf(info);
    if (refusal) throw new Error(refusal);
    await this.#warn(connection, info);
    const digests = new Map<ScriptName, string>();
    for (const [name, text] of Object.entries(scriptTexts(this.#settings)))
      digests.set(name as ScriptName, String(await connection.command(["SCRIPT", "LOAD", text])));
    this.#digests = digests;
    this.#acknowledging = new Acknowledging(connection, this.#settings.acknowledge);
    const which = this.#settings.losslessFailover ? "acknowledged" : "all";
    for (const piece of this.#testimony.pieces(topicsPerCommandMax / 2, which)) {
      const keys = piece.map(([topic]) => this.#keys.position(topic));
      const values = piece.flatMap(([, { epoch, offset }]) => [epoch, String(offset)]);
      const lost = Number(await connection.command(this.#scriptCommand("testify", keys, values)));
      if (lost > 0) this.#log.error({ topics: lost }, "Redis has lost messages that it had acknowledged");
    }
    const beat = this.#scriptCommand(
      "beat",
      [this.#keys.nodes],
      [this.#node, this.#keys.node(this.#node), "0"],
    );
    this.#fenced(arrayOf(await connection.command(beat)));
  }

  /** Logs what costs safety, once. CONFIG may be forbidden: then some warnings cannot be given. */
  async #warn(connection: Connection, info: ReadonlyMap<string, string>): Promise<void> {
    const config = new Map<string, string>();
    for (const name of ["appendfsync", "min-replicas-to-write"]) {
      const reply = await connection.command(["CONFIG", "GET", name]).catch(() => null);
      const [, value] = Array.isArray(reply) ? reply : [];
      if (value !== undefined) config.set(name, String(value));
    }
    const warnings = warningsOf(info, config);
    if (this.#warnings === warnings.join()) return;
    this.#warnings = warnings.join();
    for (const warning of warnings) this.#log.warn({}, `Redis: ${warning}`);
  }

  /** Every second attempt goes to the primary, so that a replica that is away does not make the node deaf. */
  #announcementUrl(): string {
    const { url, replicaUrl } = this.#settings;
    this.#isNear = replicaUrl !== undefined && (this.#nearFailures === 0 || !this.#isNear);
    return this.#isNear && replicaUrl !== undefined ? replicaUrl : url;
  }

  /** Goes back to the replica if it can be used. */
  async #comeNear(): Promise<void> {
    const { replicaUrl: url } = this.#settings;
    if (this.#isNear || url === undefined || !this.#announcements.isUp) return;
    const trial = new Connection({ url, name: "longwire" });
    try {
      await trial.open();
      await requireReplica(trial);
    } finally {
      trial.end("the replica was tried");
    }
    this.#nearFailures = 0;
    this.#announcements.drop("the replica is back");
  }

  async #prepareAnnouncements(connection: Connection): Promise<void> {
    if (this.#isNear) await this.#near?.prepare(connection);
    await connection.subscribe([this.#keys.node(this.#node)], this.#heard);
    await connection.subscribe([this.#keys.ask], (message) => this.#counts.asked(message));
    for (const piece of piecesOf(this.#testimony.topics, topicsPerCommandMax))
      await connection.subscribe(
        piece.map((topic) => this.#keys.channel(topic)),
        this.#announced,
      );
  }

  #up(): void {
    if (!this.state.available) return;
    this.#reason = "";
    if (this.#isNear) this.#nearFailures = 0;
    const near = this.#near && { isNear: this.#isNear };
    this.#log.info({ generation: this.generation, ...near }, "connected to Redis");
    this.#beat.start();
    this.#listener?.missed();
  }

  #down(reason: string): void {
    this.#beat.stop();
    this.disconnects++;
    const words = wordsOf(reason);
    if (this.#reason !== words) this.#log.warn({ reason: words }, "Redis cannot be used");
    this.#reason = words;
  }

  #leaveChannel(topic: string): void {
    if (!this.#announcements.isUp) return;
    const channel = this.#keys.channel(topic);
    this.#inBackground(this.#announcements.connection.unsubscribe(channel, this.#announced));
  }

  #renew(): void {
    if (this.#commands.isUp) this.#inBackground(this.#positions(this.#testimony.topics, true));
  }

  /** For what is repaired by a reconnect if it fails. */
  #inBackground(task: Promise<unknown>): void {
    task.catch((error) => this.#log.debug({ err: error }, "a command to Redis failed"));
  }
}

const openingBrace = 0x7b;

const nothing = Buffer.alloc(0);

function sinceArguments(since: Since): [kind: string, epoch: string, number: string] {
  if (since.kind === "position") return [since.kind, since.position.epoch, String(since.position.offset)];
  if (since.kind === "last") return [since.kind, "", String(since.count)];
  return [since.kind, "", since.kind === "time" ? String(since.time) : "0"];
}

function* piecesOf<Item>(items: readonly Item[], count: number): Generator<readonly Item[]> {
  for (let start = 0; start < items.length; start += count) yield items.slice(start, start + count);
}

async function translated<Answer>(answer: Promise<Answer>): Promise<Answer> {
  try {
    return await answer;
  } catch (error) {
    throw unavailable(error);
  }
}

function unavailable(error: unknown): Error {
  if (error instanceof BrokerUnavailable) return error;
  return new BrokerUnavailable(wordsOf(reasonOf(error)));
}

const errorCode = (error: unknown): string =>
  error instanceof Error ? (error.message.split(" ", 1)[0] ?? "") : "";

/** What the operator can do about an error of Redis, by the word that begins it. */
const words: Readonly<Record<string, string>> = {
  OOM: "Redis is full: raise its maxmemory, or lower --history-messages or --history-age",
  LOADING: "Redis is loading its data",
  READONLY: "this server is a replica: --redis must lead to the primary",
  MISCONF: "Redis cannot write its data to disk, and refuses to accept more",
  NOREPLICAS: "too few replicas are connected",
  NOAUTH: "Redis asks for a password: give it in --redis, as in redis://:password@host",
  WRONGPASS: "Redis refuses the user or password of --redis",
  NOPERM: "the Redis user lacks a permission (docs/clustering.md has the list)",
  NOREPLID: "this server hides master_replid, so that a failover that loses messages could not be seen",
  BUSY: "Redis is busy with a script",
};

function wordsOf(message: string): string {
  const [first = ""] = message.split(" ", 1);
  // Within a script a lacking permission is an error without a word of its own.
  const code = message.startsWith("ERR The user executing the script") ? "NOPERM" : first;
  return words[code] ? `${words[code]} (${message})` : message;
}
