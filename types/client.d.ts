/**
 * Generated from src/client/client.ts by `bun run declarations`: do not edit.
 *
 * TypeScript cannot check a package that exports its .ts files: it would report errors of other compiler options there.
 */
type Ending = readonly [
	code: number,
	reason: string,
	waitSeconds?: number
];
export type Transport = "websocket" | "eventsource";
/** A connection that is to be opened. */
export interface Opening {
	/** An event stream in the place of a WebSocket. */
	readonly isStream: boolean;
	/** With the `since` of this connection, and with `http:` or `https:` also for a WebSocket. */
	readonly url: URL;
	readonly token: string | undefined;
	/** Aborted when the connection is to end. Whatever it reports after that is ignored. */
	readonly signal: AbortSignal;
}
type Lose = (...ending: Ending) => void;
/**
 * @param receive to be called with each event of `cloudevents.json`, and with nothing for another sign of life
 * @param lost to be called once the connection has ended by itself
 * @returns what asks the server for a sign of life, unless the server gives one by itself
 */
export type Open = (opening: Opening, receive: (event?: FollowedMessage) => void, lost: Lose) => (() => void) | undefined;
/** A message: a CloudEvent (docs/protocol.md, `cloudevents.json`). */
export interface FollowedMessage {
	readonly id: string;
	readonly topic: string;
	/** `longwire.message`, unless its publisher gave another; `longwire.removed` where a key was removed, without data. */
	readonly type: string;
	/** In a keyed topic: the key whose message this is. */
	readonly partitionkey?: string;
	/** When it was published, in RFC 3339. */
	readonly time: string;
	/** Missing in a removal. */
	readonly datacontenttype?: string;
	/** Any JSON value for a JSON type; a string for other text; missing in a binary message and in a removal. */
	readonly data?: unknown;
	/** The bytes of a binary message. */
	readonly data_base64?: string;
	/** Other attributes that its publisher gave. */
	readonly [attribute: string]: unknown;
}
interface LineOptions {
	/** A connection is open: from now on messages arrive as they are published. */
	onOpen?(): void;
	/** A connection was lost, with the close code. The next one is tried after the wait. */
	onLost?(code: number, reason: string, waitSeconds: number): void;
	/**
	 * Called once, when nothing is followed any more: with 1000 and "ended" after the end of all topics, with 1000 and
	 * "stopped" after `stop`, or with the close code after which coming back does not help.
	 */
	onStop?(code: number, reason: string): void;
	/** Called before the first connection, and again when the server does not take the token any more. */
	token?(): string | Promise<string>;
	/**
	 * By default a WebSocket, and an event stream where WebSockets do not pass: after two that never opened although the
	 * server answers a request, the other one is tried. An `eventsource` carries at most 20 topics.
	 */
	readonly transport?: Transport;
	/** Opens each connection in place of `WebSocket` and `fetch`. */
	readonly open?: Open;
}
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
export declare function follow(url: string | URL, options: FollowOptions): Following;
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
export declare function followState(url: string | URL, options: FollowStateOptions): Following;

export {};
