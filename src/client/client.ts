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
  /** In a keyed topic: the offset that it had when the snapshot that follows began. What was known of its keys is void. */
  readonly base?: number;
}

/** The replay of a keyed topic is over: what follows are changes, as they are published. */
export interface FollowedLive {
  readonly topic: string;
  readonly id: string;
  /** Whether the messages so far are its whole state: not after `since=last:N`, a span or a time. */
  readonly whole: boolean;
}

/** The end of a topic: no message follows. */
export interface FollowedEnd {
  readonly topic: string;
  readonly id: string;
}

export interface FollowOptions extends LineOptions {
  /** Called for each message, in the order of its topic, once. In a keyed topic also for each removal of a key. */
  onMessage?(message: FollowedMessage): void;
  /** Called before the first message that follows the gap. Without it messages can be missing unnoticed. */
  onGap?(gap: FollowedGap): void;
  /** Called after each replay of a keyed topic, also after that of a gap. */
  onLive?(live: FollowedLive): void;
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
  /** Closes the connection, for good. `onStop` is told the code and the reason: 1000 and "stopped" by default. */
  stop(code?: number, reason?: string): void;
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
  /** The base of each topic inside a snapshot, which is part of the place to come back with. */
  const bases = new Map<string, number | undefined>();
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
  /** @param id of a control event, which has the base in it */
  const moveTo = (topic: string, id: string, base?: number): void => {
    ids.set(topic, id);
    bases.set(topic, base);
  };
  /** Takes an id over in the same step in which its event is handed on. */
  const receive = (event: FollowedMessage): void => {
    const { type, topic, id, data } = event;
    if (type === "longwire.open") {
      const opened = data as { topics: readonly { topic: string; id: string; base?: number }[] };
      ids = new Map();
      for (const { topic, id, base } of opened.topics) moveTo(topic, id, base);
      options.onOpen?.();
    } else if (type === "longwire.gap") {
      const gap = data as FollowedGap;
      moveTo(gap.topic, gap.from, gap.base);
      options.onGap?.(gap);
    } else if (type === "longwire.live") {
      const live = data as FollowedLive;
      moveTo(live.topic, live.id);
      options.onLive?.(live);
    } else if (type === "longwire.end") {
      ids.set(topic, id);
      // Each connection reports the end of each topic once more.
      if (ends.get(topic) !== id) options.onEnd?.({ topic, id });
      ends.set(topic, id);
      if ([...ids].every(([topic, id]) => ends.get(topic) === id)) line.stop(1000, "ended");
    } else if (topic) {
      const base = bases.get(topic);
      ids.set(topic, base === undefined ? id : `${id}.${base}`);
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

/** What a keyed topic holds: by key its last message, which has `data`, `id` and `time`. */
export type FollowedState = ReadonlyMap<string, FollowedMessage>;

export interface FollowStateOptions extends LineOptions {
  /**
   * Called with the whole state once it is there, and again where a gap made it void; in between after each change, with its
   * key.
   * @param state is changed in place by what follows: copy it to keep it as it is
   * @param key whose message was replaced, or removed: then the state does not have it. Undefined: any may have changed.
   */
  onChange(state: FollowedState, key?: string): void;
  /** Called once the topic has ended. */
  onEnd?(end: FollowedEnd): void;
}

/**
 * Follows what a keyed topic holds: all of it, then each change, through every disconnect. After a gap the state stays as it
 * was until the new one is whole. With `/presence/room/42` it is who is on the topic `room/42`: by key its members, whose
 * `data` is `{ member, since }`.
 *
 * ```ts
 * import { followState } from "longwire/client";
 *
 * const following = followState("http://localhost:9090/topics/prices", {
 *   onChange: (prices) => console.log(prices.get("AAPL")?.data, prices.size),
 *   onStop: (code, reason) => console.log(code, reason),
 * });
 * setTimeout(() => following.stop(), 100);
 * ```
 *
 * @param url of one keyed topic; its `since` does not count. It stops with 1008 at a message of a topic that is not keyed.
 * @throws {TypeError} if it is no URL
 */
export function followState(url: string | URL, options: FollowStateOptions): Following {
  const address = new URL(url, globalThis.location?.href);
  address.searchParams.set("since", "all");
  let state = new Map<string, FollowedMessage>();
  /** What a snapshot brings, until it is whole. */
  let next: typeof state | undefined = new Map();
  const following = follow(address, {
    ...options,
    onMessage(message) {
      const { partitionkey: key, type } = message;
      if (key === undefined) return following.stop(1008, "The topic is not keyed.");
      const target = next ?? state;
      if (type === "longwire.removed") target.delete(key);
      else target.set(key, message);
      if (!next) options.onChange(state, key);
    },
    onGap() {
      next = new Map();
    },
    onLive() {
      if (!next) return;
      state = next;
      next = undefined;
      options.onChange(state);
    },
  });
  return following;
}
