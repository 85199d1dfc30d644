/**
 * The client: follows topics through every disconnect. It is the one of docs/protocol.md with tokens, ends, event streams
 * and a heartbeat, and needs nothing but `WebSocket` and `fetch`. A server has it as /client.js.
 */

import { keepConnected, type LineOptions } from "./line.ts";
import type { FollowedMessage, Open, Opening, Transport } from "./transport.ts";

export type { FollowedMessage, Open, Opening, Transport };

/** Messages of a topic that are gone: those after `requested`, up to `from`. */
export interface FollowedGap {
  readonly topic: string;
  readonly requested: string;
  readonly from: string;
}

/** The end of a topic: no message follows. */
export interface FollowedEnd {
  readonly topic: string;
  readonly id: string;
}

export interface FollowOptions extends LineOptions {
  /** Called for each message, in the order of its topic, once. */
  onMessage?(message: FollowedMessage): void;
  /** Called before the first message that follows the gap. Without it messages can be missing unnoticed. */
  onGap?(gap: FollowedGap): void;
  /** Called once a topic has ended. */
  onEnd?(end: FollowedEnd): void;
}

/** What `follow` returns. */
export interface Following {
  /**
   * The `since` of a URL that continues after the last message: to be stored for a later visit. Null before the first
   * `onOpen` without a `since`.
   */
  readonly cursor: string | null;
  /** What carries the connection, or the next one. */
  readonly transport: Transport;
  /** Closes the connection, for good. */
  stop(): void;
}

/**
 * Follows topics: it reconnects with backoff, continues after the last message, and reports what cannot be continued.
 *
 * ```ts
 * import { follow } from "longwire/client";
 *
 * const following = follow("http://localhost:9090/topics/answers/42?since=all", {
 *   onMessage: ({ data }) => console.log(data),
 *   onGap: ({ from }) => console.log("messages are missing before", from),
 *   onStop: (code, reason) => console.log(code, reason),
 * });
 * setTimeout(() => following.stop(), 100);
 * ```
 *
 * @param url of the topics, absolute or as the page has it; its `since` says where the first connection begins
 * @throws {TypeError} if it is no URL
 */
export function follow(url: string | URL, options: FollowOptions): Following {
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("ws", "http");
  /** The id to come back with of each topic, in the order of the URL. */
  let ids = new Map<string, string>();
  /** The ids of the ends that were reported, by topic. */
  const ends = new Map<string, string>();
  const cursor = (): string | null =>
    ids.size > 0 ? [...ids.values()].join(",") : address.searchParams.get("since");
  const urlNow = (): URL => {
    const url = new URL(address);
    const since = cursor();
    if (since !== null) url.searchParams.set("since", since);
    return url;
  };
  /** Takes an id over in the same step in which its event is handed on. */
  const receive = (event: FollowedMessage): void => {
    const { type, topic, id, data } = event;
    if (type === "longwire.open") {
      const opened = data as { topics: readonly { topic: string; id: string }[] };
      ids = new Map(opened.topics.map(({ topic, id }) => [topic, id]));
      options.onOpen?.();
    } else if (type === "longwire.gap") {
      const gap = data as FollowedGap;
      ids.set(gap.topic, gap.from);
      options.onGap?.(gap);
    } else if (type === "longwire.end") {
      ids.set(topic, id);
      // Each connection reports the end of each topic once more.
      if (ends.get(topic) !== id) options.onEnd?.({ topic, id });
      ends.set(topic, id);
      if ([...ids].every(([topic, id]) => ends.get(topic) === id)) line.stop(1000, "ended");
    } else if (type === "longwire.message" || !type.startsWith("longwire.")) {
      ids.set(topic, id);
      options.onMessage?.(event);
    }
  };
  const line = keepConnected(options, urlNow, receive);
  return {
    get cursor() {
      return cursor();
    },
    get transport() {
      return line.transport;
    },
    stop: line.stop,
  };
}
