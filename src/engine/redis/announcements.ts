/**
 * What a node hears: the announcements of the topics that it subscribed to, its own beat, and what other nodes ask and answer.
 *
 * A node with a replica has a connection to each server all the time, and hears its beats at both. Topics are subscribed to at
 * one of them: at the replica after beats have proven that it follows the primary closely, else at the primary. So a move takes
 * no more than the subscriptions, which are made at the new server before they end at the old one, and nobody waits for it.
 */
import type { Logger } from "../../log.ts";
import type { End, Message } from "../../topic/message.ts";
import { Beat, beatMilliseconds } from "./beat.ts";
import { decodeEntry } from "./entry.ts";
import type { RedisKeys } from "./keys.ts";
import { Link, type LinkDeps, type RedisConnection, reasonOf } from "./link.ts";
import { piecesOf, topicsPerCommandMax } from "./pieces.ts";
import type { Testimony } from "./testimony.ts";
import { unavailable, wordsOf } from "./unavailable.ts";

/** Looks that the replica may leave a command unanswered, 0.5 to 0.75 s: then the primary is asked. */
const replicaLooksMax = 2;

/**
 * Beats in a row that must come in time before a node that left its replica goes back: the first number, and twice as many each
 * time it is left again, up to the last. After so many beats at the replica the count begins anew. Without it a replica that
 * is now quick, now slow would make the node move for ever.
 */
const provingBeats = { first: 5, last: 320 };

export interface AnnouncementsDeps {
  readonly url: string;
  /** The nearest replica; undefined for none. */
  readonly replicaUrl: string | undefined;
  readonly log: Logger;
  /** Identifies this node. */
  readonly node: string;
  readonly keys: RedisKeys;
  /** Has the topics that are subscribed to. */
  readonly testimony: Testimony;
  readonly announced: (entry: Message | End) => void;
  readonly asked: (question: Buffer) => void;
  readonly answered: (answer: Buffer) => void;
  /** Sends a beat of this node to the primary, with its number; undefined while the primary is away. */
  readonly sendBeat: (beat: number) => Promise<void> | undefined;
  /** Prepares a new connection to the replica. */
  readonly prepareReplica: (connection: RedisConnection) => Promise<void>;
  /** Announcements can be heard again. */
  readonly up: () => void;
  /** Announcements may have been lost. */
  readonly missed: () => void;
  /** @param reason why announcements cannot be heard, in words */
  readonly down: (reason: string) => void;
  /** Runs what is repaired by a reconnect if it fails. */
  readonly inBackground: (task: Promise<unknown>) => void;
}

/** A server where announcements can be heard. */
interface AnnouncementSource {
  readonly link: Link;
  readonly beat: Beat;
  readonly announced: (entry: Buffer, channel: Buffer) => void;
}

export class Announcements {
  readonly #deps: AnnouncementsDeps;
  readonly #primary: AnnouncementSource;
  readonly #replica: AnnouncementSource | undefined;
  /** Where the topics are subscribed to. */
  #current: AnnouncementSource;
  /** Where they were before, until all are subscribed to at the current source. */
  #previous: AnnouncementSource | undefined;
  /** Why the replica is not used, as it was last logged. */
  #warned = "";
  readonly #timer: Timer;
  #lastBeat = 0;
  /** Beats since the current source is used. */
  #beatsHere = 0;
  /** Beats that must come in time before the replica is used. One while nothing speaks against it. */
  #beatsToProve = 1;

  constructor(deps: AnnouncementsDeps) {
    this.#deps = deps;
    const { url, replicaUrl } = deps;
    this.#primary = this.#source({
      options: { url, name: "longwire" },
      opened: (connection) => this.#preparePrimary(connection),
    });
    this.#current = this.#primary;
    if (replicaUrl)
      this.#replica = this.#source({
        options: { url: replicaUrl, name: "longwire" },
        looksMax: replicaLooksMax,
        opened: (connection) => this.#prepareReplica(connection),
      });
    this.#timer = setInterval(() => this.beat(), beatMilliseconds).unref();
  }

  get isUp(): boolean {
    return this.#current.link.isUp;
  }

  /** The connection to the replica; undefined while the node hears the primary, or it is in doubt whether announcements arrive. */
  get replica(): RedisConnection | undefined {
    const { link, beat } = this.#current;
    return this.isNear && link.isUp && beat.isFresh ? link.connection : undefined;
  }

  /** Whether announcements come from the replica. */
  get isNear(): boolean {
    return this.#current === this.#replica;
  }

  /** From the sending of the last beat to its announcement. */
  get delayMilliseconds(): number {
    return this.#current.beat.delayMilliseconds;
  }

  /** @returns the connection on which the topic is heard. @throws {BrokerUnavailable} */
  async subscribe(topic: string): Promise<RedisConnection> {
    const source = this.#current;
    try {
      const { connection } = source.link;
      await connection.subscribe([this.#deps.keys.channel(topic)], source.announced);
      return connection;
    } catch (error) {
      if (source === this.#primary) throw unavailable(error);
      if (source === this.#current) this.#leaveReplica(reasonOf(error));
      return await this.subscribe(topic);
    }
  }

  /** Whether a topic that was subscribed to on a connection has been heard there without a break. */
  isHeardOn(connection: RedisConnection): boolean {
    const { link } = this.#current;
    return link.isUp && link.connection === connection;
  }

  unsubscribe(topic: string): void {
    this.#unsubscribe(this.#current, topic);
  }

  /** Sends a beat now. Each server that is connected is to announce it. */
  beat(): void {
    this.#judge();
    const sources = [this.#primary, this.#replica].filter((source) => source?.link.isUp);
    const number = ++this.#lastBeat;
    const sent = this.#deps.sendBeat(number);
    if (!sent) return;
    for (const source of sources) source?.beat.sent(number);
    sent.catch(() => {
      for (const source of sources) source?.beat.unsent(number);
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all([this.#primary.link.close(), this.#replica?.link.close()]);
  }

  #source(deps: Pick<LinkDeps, "options" | "looksMax" | "opened">): AnnouncementSource {
    const beat = new Beat(() => {
      if (source === this.#current) this.#deps.missed();
    });
    const link = new Link({
      ...deps,
      up: () => this.#up(source),
      down: (reason) => this.#down(source, reason),
    });
    const source: AnnouncementSource = {
      link,
      beat,
      announced: (entry, channel) => this.#announced(source, entry, channel),
    };
    return source;
  }

  async #preparePrimary(connection: RedisConnection): Promise<void> {
    const { keys, node, asked } = this.#deps;
    await connection.subscribe([keys.node(node)], (message) => {
      if (message[0] === openingBrace) this.#deps.answered(message);
      else this.#primary.beat.announced(message.toString());
    });
    await connection.subscribe([keys.ask], asked);
  }

  async #prepareReplica(connection: RedisConnection): Promise<void> {
    const { keys, node, prepareReplica } = this.#deps;
    await prepareReplica(connection);
    // Answers of other nodes come from the primary.
    await connection.subscribe([keys.node(node)], (message) => {
      if (message[0] !== openingBrace) this.#beatAtReplica(message.toString());
    });
  }

  #up(source: AnnouncementSource): void {
    source.beat.restart();
    if (source !== this.#current) return;
    this.#deps.up();
    this.#deps.inBackground(this.#subscribeAll());
  }

  #down(source: AnnouncementSource, reason: string): void {
    if (source === this.#current && this.isNear) this.#leaveReplica(reason);
    else if (source === this.#replica) this.#warn(reason);
    else if (source === this.#current) this.#deps.down(reason);
  }

  /** Concludes from the beats so far, before another is sent. */
  #judge(): void {
    this.#beatsHere++;
    const { link, beat } = this.#primary;
    if (link.isUp && beat.isLate) link.drop("announcements do not arrive");
    const replica = this.#replica;
    if (!replica?.link.isUp) return;
    // A replica that does not answer is found out though nobody asks it anything.
    this.#deps.inBackground(replica.link.connection.command(["PING"]));
    if (this.isNear && replica.beat.isLate) this.#leaveReplica("announcements do not arrive");
    if (this.isNear && this.#beatsHere > provingBeats.last) this.#beatsToProve = 1;
  }

  #beatAtReplica(message: string): void {
    const replica = this.#replica;
    replica?.beat.announced(message);
    if (!replica || this.isNear || replica.beat.inTime < this.#beatsToProve) return;
    this.#warned = "";
    this.#deps.log.info({}, "the replica follows its primary: announcements come from the replica");
    this.#moveTo(replica);
  }

  #leaveReplica(reason: string): void {
    const { first, last } = provingBeats;
    this.#beatsToProve = Math.min(Math.max(first, this.#beatsToProve * 2), last);
    this.#warn(reason);
    if (this.#replica) this.#replica.beat.inTime = 0;
    this.#moveTo(this.#primary);
    if (!this.isUp) this.#deps.down(reason);
  }

  /** Says once why the replica is not used. */
  #warn(error: string): void {
    const reason = wordsOf(error);
    if (reason === this.#warned) return;
    this.#warned = reason;
    this.#deps.log.warn({ reason }, "the replica cannot be used: announcements come from the primary");
  }

  #moveTo(source: AnnouncementSource): void {
    this.#previous = this.#current;
    this.#current = source;
    this.#beatsHere = 0;
    if (source.link.isUp) this.#deps.inBackground(this.#subscribeAll());
  }

  /** Subscribes to all topics at the current source. What was announced before that was missed. */
  async #subscribeAll(): Promise<void> {
    const { testimony, keys, missed } = this.#deps;
    const source = this.#current;
    const { connection } = source.link;
    for (const piece of piecesOf(testimony.topics, topicsPerCommandMax))
      await connection.subscribe(
        piece.map((topic) => keys.channel(topic)),
        source.announced,
      );
    if (source !== this.#current) return;
    this.#previous = undefined;
    missed();
  }

  #unsubscribe({ link, announced }: AnnouncementSource, topic: string): void {
    const { keys, inBackground } = this.#deps;
    if (link.isUp) inBackground(link.connection.unsubscribe([keys.channel(topic)], announced));
  }

  #announced(source: AnnouncementSource, entry: Buffer, channel: Buffer): void {
    const { keys, testimony, log, announced } = this.#deps;
    const topic = keys.topicOf(channel);
    const isSubscribed = testimony.isSubscribed(topic);
    // It was left while it was being subscribed to, or is heard elsewhere now.
    if (!isSubscribed || (source !== this.#current && source !== this.#previous))
      this.#unsubscribe(source, topic);
    if (!isSubscribed) return;
    let decoded: Message | End;
    try {
      decoded = decodeEntry(topic, entry);
    } catch (error) {
      log.error({ err: error, topic }, "cannot read an announcement");
      return;
    }
    testimony.announced(decoded);
    announced(decoded);
  }
}

const openingBrace = 0x7b;
