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
	/** `longwire.message`, unless its publisher gave another. */
	readonly type: string;
	/** When it was published, in RFC 3339. */
	readonly time: string;
	readonly datacontenttype: string;
	/** Any JSON value for a JSON type; a string for other text; missing in a binary message. */
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
export declare function follow(url: string | URL, options: FollowOptions): Following;

export {};
