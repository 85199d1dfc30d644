/**
 * The names of everything in Redis. `{topic}` is a hash tag. `docs/clustering.md` documents them.
 *
 *   <prefix>:fence                which server this is, and its generation (fence.lua)
 *   <prefix>:{topic}:p            the topic's position
 *   <prefix>:{topic}:l            its log
 *   <prefix>:{topic}:h            of a keyed topic: the entry of each key, a value or a removal
 *   <prefix>:{topic}:z            their offsets
 *   <prefix>:{topic}:x            the offsets of the removals
 *   <prefix>:{topic}:k:<digest>   an idempotency key
 *   <prefix>:probe                never exists: writes to it only show whether the server takes them (beat.lua)
 *   <prefix>:nodes                when each node beat last (beat.lua)
 *   <prefix>:{topic}:m and <prefix>:presence:…    who is here (members.lua)
 * Channels, which Redis does not separate by database, so that its number is in them:
 *   <prefix>:{topic}              announcements
 *   <prefix>:ask                  a node asks all others for their subscribers
 *   <prefix>:node:<node>          answers to a node, and its own beat
 */
import type { Once } from "../../topic/broker.ts";

export class RedisKeys {
  readonly fence: string;
  readonly probe: string;
  readonly nodes: string;
  readonly ask: string;
  readonly #keys: string;
  readonly #channels: string;

  /** @param prefix letters, digits, `.`, `_` and `-` */
  constructor(prefix: string, database: number) {
    this.#keys = `${prefix}:`;
    this.#channels = database === 0 ? this.#keys : `${prefix}:${database}:`;
    this.fence = `${this.#keys}fence`;
    this.probe = `${this.#keys}probe`;
    this.nodes = `${this.#keys}nodes`;
    this.ask = `${this.#channels}ask`;
  }

  /** Begins the name of every key. */
  get begin(): string {
    return this.#keys;
  }

  /** Begins the names of the topic's keys. */
  name(topic: string): string {
    return `${this.#keys}{${topic}}`;
  }

  position(topic: string): string {
    return `${this.name(topic)}:p`;
  }

  log(topic: string): string {
    return `${this.name(topic)}:l`;
  }

  /** Has one length for every key, and different for every publisher and key. */
  record(topic: string, { publisher, key }: Once): string {
    const digest = new Bun.CryptoHasher("sha256")
      .update(JSON.stringify([publisher, key]))
      .digest("base64url");
    return `${this.name(topic)}:k:${digest}`;
  }

  /** What channels have before `{topic}`; empty where a topic's channel is its name. */
  get channelsBegin(): string {
    return this.#channels === this.#keys ? "" : this.#channels;
  }

  channel(topic: string): string {
    return `${this.#channels}{${topic}}`;
  }

  /** The topic of a channel made by `channel`. */
  topicOf(channel: Buffer): string {
    return channel.toString("utf8", this.#channels.length + 1, channel.length - 1);
  }

  node(node: string): string {
    return `${this.#channels}node:${node}`;
  }
}
