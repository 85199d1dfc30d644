/**
 * Generated from src/client/client.ts by `bun run declarations`: do not edit.
 *
 * TypeScript cannot check a package that exports its .ts files: it would report errors of other compiler options there.
 */
/**
 * The client: follows topics through every disconnect. It is the one of docs/protocol.md with tokens, ends, event streams
 * and a heartbeat, and needs nothing but `WebSocket` or `EventSource`, and `fetch`. A server has it as /client.js.
 */
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
export interface FollowOptions {
	/** Called for each message, in the order of its topic, once. */
	onMessage?(message: FollowedMessage): void;
	/** Called before the first message that follows the gap. Without it messages can be missing unnoticed. */
	onGap?(gap: FollowedGap): void;
	/** Called once a topic has ended. */
	onEnd?(end: FollowedEnd): void;
	/** A connection is open: from now on messages arrive as they are published. */
	onOpen?(): void;
	/** A connection was lost, with the close code. The next one is tried after a while. */
	onLost?(code: number): void;
	/**
	 * Called once, when nothing is followed any more: with 1000 and "ended" after the end of all topics, with 1000 and
	 * "stopped" after `stop`, or with the close code after which coming back does not help.
	 */
	onStop?(code: number, reason: string): void;
	/** Called before the first connection, and again when the server does not take the token any more. */
	token?(): string | Promise<string>;
	/** Default `websocket`. An `eventsource` passes where only plain HTTP does; at most 20 topics. */
	readonly transport?: "websocket" | "eventsource";
}
/** What `follow` returns. */
export interface Following {
	/** The `since` of a URL that continues after the last message: to be stored for a later visit. Null before the first `onOpen` without a `since`. */
	readonly cursor: string | null;
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
