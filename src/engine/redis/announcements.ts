/**
 * What a node hears: the announcements of the topics that it subscribed to, its own beat, and what other nodes ask and answer;
 * from the primary, or from the nearest replica.
 */
import type { Logger } from "../../log.ts";
import type { End, Message } from "../../topic/message.ts";
import { decodeEntry } from "./entry.ts";
import type { Keys } from "./keys.ts";
import { Connection, Link } from "./link.ts";
import { requireReplica } from "./near.ts";
import { piecesOf, topicsPerCommandMax } from "./pieces.ts";
import type { Testimony } from "./testimony.ts";
import { translated } from "./unavailable.ts";

/** How often a node that hears the primary looks whether its replica is back. */
const nearTrialSeconds = 5;

export interface AnnouncementsDeps {
  readonly url: string;
  /** The nearest replica; undefined for none. */
  readonly replicaUrl: string | undefined;
  readonly log: Logger;
  /** Identifies this node. */
  readonly node: string;
  readonly keys: Keys;
  /** Has the topics that are subscribed to. */
  readonly testimony: Testimony;
  readonly announced: (entry: Message | End) => void;
  readonly asked: (question: Buffer) => void;
  readonly answered: (answer: Buffer) => void;
  /** A beat of this node was heard (beat.lua). */
  readonly beat: (message: string) => void;
  /** Prepares a new connection to the replica. */
  readonly prepareReplica: (connection: Connection) => Promise<void>;
  readonly up: () => void;
  /** @param reason why the connection ended or could not be opened, in words */
  readonly down: (reason: string) => void;
  /** Runs what is repaired by a reconnect if it fails. */
  readonly inBackground: (task: Promise<unknown>) => void;
}

export class Announcements {
  readonly #deps: AnnouncementsDeps;
  readonly #link: Link;
  readonly #nearTimer: Timer | undefined;
  /** Whether the connection leads, or is to lead, to the replica. */
  #isNear = false;
  /** Connections to the replica that failed since one was up. */
  #nearFailures = 0;

  constructor(deps: AnnouncementsDeps) {
    this.#deps = deps;
    this.#link = new Link({
      options: () => ({ url: this.#nextUrl(), name: "longwire" }),
      opened: (connection) => this.#prepare(connection),
      up: () => {
        if (this.#isNear) this.#nearFailures = 0;
        deps.up();
      },
      down: (reason) => {
        if (this.#isNear) this.#nearFailures++;
        deps.down(reason);
      },
    });
    if (deps.replicaUrl)
      this.#nearTimer = setInterval(
        () => deps.inBackground(this.#comeNear()),
        nearTrialSeconds * 1000,
      ).unref();
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** The connection to the replica; undefined while the node hears the primary, or nothing. */
  get replica(): Connection | undefined {
    return this.#isNear && this.#link.isUp ? this.#link.connection : undefined;
  }

  /** @throws {BrokerUnavailable} */
  subscribe(topic: string): Promise<void> {
    const { connection } = this.#link;
    return translated(connection.subscribe([this.#deps.keys.channel(topic)], this.#announced));
  }

  unsubscribe(topic: string): void {
    if (!this.#link.isUp) return;
    const channel = this.#deps.keys.channel(topic);
    this.#deps.inBackground(this.#link.connection.unsubscribe(channel, this.#announced));
  }

  /** Ends the connection. A new one is opened. */
  drop(reason: string): void {
    this.#link.drop(reason);
  }

  async close(): Promise<void> {
    clearInterval(this.#nearTimer);
    await this.#link.close();
  }

  /** Every second attempt goes to the primary, so that a replica that is away does not make the node deaf. */
  #nextUrl(): string {
    const { url, replicaUrl } = this.#deps;
    this.#isNear = replicaUrl !== undefined && (this.#nearFailures === 0 || !this.#isNear);
    return this.#isNear && replicaUrl !== undefined ? replicaUrl : url;
  }

  /** Goes back to the replica if it can be used. */
  async #comeNear(): Promise<void> {
    const { replicaUrl: url } = this.#deps;
    if (this.#isNear || url === undefined || !this.#link.isUp) return;
    const trial = new Connection({ url, name: "longwire" });
    try {
      await trial.open();
      await requireReplica(trial);
    } finally {
      trial.end("the replica was tried");
    }
    this.#nearFailures = 0;
    this.#link.drop("the replica is back");
  }

  async #prepare(connection: Connection): Promise<void> {
    const { keys, node, testimony, asked, prepareReplica } = this.#deps;
    if (this.#isNear) await prepareReplica(connection);
    await connection.subscribe([keys.node(node)], this.#heard);
    await connection.subscribe([keys.ask], asked);
    for (const piece of piecesOf(testimony.topics, topicsPerCommandMax))
      await connection.subscribe(
        piece.map((topic) => keys.channel(topic)),
        this.#announced,
      );
  }

  readonly #announced = (entry: Buffer, channel: Buffer): void => {
    const { keys, testimony, log, announced } = this.#deps;
    const topic = keys.topicOf(channel);
    if (!testimony.isSubscribed(topic)) {
      this.unsubscribe(topic); // It was left while this connection was being opened.
      return;
    }
    let decoded: Message | End;
    try {
      decoded = decodeEntry(topic, entry);
    } catch (error) {
      log.error({ err: error, topic }, "cannot read an announcement");
      return;
    }
    testimony.heard(topic, decoded);
    announced(decoded);
  };

  /** A beat of this node, or an answer to it. */
  readonly #heard = (message: Buffer): void => {
    if (message[0] === openingBrace) this.#deps.answered(message);
    else this.#deps.beat(message.toString());
  };
}

const openingBrace = 0x7b;
