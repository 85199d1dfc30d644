/**
 * Generated from src/longwire.ts by `bun run declarations`: do not edit.
 *
 * TypeScript cannot check a package that exports its .ts files: it would report errors of other compiler options there.
 */
import { Server, WebSocketHandler } from 'bun';

type WriteLine = (fields: object, message: string) => void;
/**
 * Takes the log lines of a server or handler. A pino logger is one, and so is any object with these five functions.
 *
 * ```ts
 * import { createServer, type Logger } from "longwire";
 *
 * const line = (fields: object, message: string) => console.log(message, fields);
 * const log: Logger = { trace: () => {}, debug: () => {}, info: line, warn: line, error: line };
 * await using server = await createServer({ port: 0, log });
 * ```
 */
export interface Logger {
	readonly trace: WriteLine;
	readonly debug: WriteLine;
	readonly info: WriteLine;
	readonly warn: WriteLine;
	readonly error: WriteLine;
}
/** `undefined` once the request became a WebSocket. */
export type Answer = Response | undefined;
type Attributes = Readonly<Record<string, AttributeValue>>;
type AttributeValue = string | boolean | number;
/** Why a message cannot be published, in words for its publisher. */
export declare class DraftError extends Error {
	readonly name = "DraftError";
}
/** A topic has as many members as it may, and this one more was not taken in. */
export declare class PresenceFull extends Error {
	readonly topic: string;
	readonly bound: string;
	readonly name = "PresenceFull";
	/** @param bound in words that continue a sentence, with the setting's name */
	constructor(topic: string, bound: string);
}
type Action = "subscribe" | "publish" | "end" | "presence";
/**
 * An application's own rule, asked for each topic that no token allows. With `privatePing` and no keys it is asked for
 * the action `subscribe` on `ping` when a client connects to /ping.
 *
 * ```ts
 * import { type Authorize, createHandler } from "longwire";
 *
 * const authorize: Authorize = (request, { topic, action }) => {
 *   const user = request.headers.get("x-user"); // Set by a proxy that knows its users.
 *   return user !== null && (action === "subscribe" || topic === `users/${user}`) ? { subject: user } : false;
 * };
 * await using longwire = createHandler({ authorize });
 * ```
 *
 * @returns whether the sender of `request` may do it; `{ subject }` allows it and names the sender. Idempotency keys of
 * two subjects are different keys. Senders without a subject share theirs. For `subscribe`, `{ subject, member }` makes the
 * line a member of the topic, if the topic has presence.
 */
export type Authorize = (request: Request, wanted: {
	readonly topic: string;
	readonly action: Action;
}) => Authorization | Promise<Authorization>;
/**
 * `subject` is a stable name of the sender, such as a user's id. `member` is what those who may read the presence of the topic
 * see of it beside the subject: `true`, or an object of at most 1 KiB as JSON.
 */
export type Authorization = boolean | {
	readonly subject: string;
	readonly member?: boolean | object;
};
interface Position {
	/** Names the past that `offset` belongs to. Compared only for equality. Never `0`, so that the id `0-0` is always a gap. */
	readonly epoch: string;
	readonly offset: number;
}
interface Place extends Position {
	/**
	 * Set inside a snapshot of a keyed topic: the offset that the topic had when the snapshot began. A reader there has the
	 * values up to `offset`, and needs no removal that came before `base`.
	 */
	readonly base?: number | undefined;
}
interface Gap {
	readonly topic: string;
	/** Where the subscriber asked to continue, in its own words. */
	readonly requested: string;
	/** The place that the next message follows. */
	readonly from: Place;
}
/** The engine is away or overburdened. Whether it did what was asked is unknown: repeat it, with the same key. */
export declare class BrokerUnavailable extends Error {
	readonly reason: string;
	readonly name = "BrokerUnavailable";
	/** @param reason in words that continue a sentence */
	constructor(reason: string);
}
/** The topic has ended: nothing is published to it any more. */
export declare class TopicEnded extends Error {
	readonly topic: string;
	readonly end: Position;
	readonly name = "TopicEnded";
	/** @param end the position of the topic's end */
	constructor(topic: string, end: Position);
}
/** The key of a keyed topic is not what the publisher takes it for: somebody else changed it. */
export declare class ConditionFailed extends Error {
	readonly topic: string;
	readonly current: Position | undefined;
	readonly name = "ConditionFailed";
	/** @param current the position of the key's value; undefined where it has none */
	constructor(topic: string, current: Position | undefined);
}
/** What was to be removed is not there. */
export declare class KeyAbsent extends Error {
	readonly topic: string;
	readonly position: Position;
	readonly name = "KeyAbsent";
	/** @param position of the topic */
	constructor(topic: string, position: Position);
}
/** The values of keyed topics are never dropped to make room, and there is none. */
export declare class TopicFull extends Error {
	readonly topic: string;
	readonly bound: string;
	readonly name = "TopicFull";
	/** @param bound in words that continue a sentence, with the setting's name */
	constructor(topic: string, bound: string);
}
/** The idempotency key was used within the last 5 minutes with another message. */
export declare class IdempotencyConflict extends Error {
	readonly name = "IdempotencyConflict";
	constructor();
}
/** A feed gets what is published to other topics, and nothing else. */
export declare class TopicIsFeed extends Error {
	readonly topic: string;
	readonly name = "TopicIsFeed";
	constructor(topic: string);
}
/** A message as the library hands it out. */
export interface ReceivedMessage {
	readonly topic: string;
	/** `<epoch>-<offset>`. Hand it back as `since` to continue after it. */
	readonly id: string;
	/** When it was published. */
	readonly time: Date;
	readonly contentType: string;
	/** In a keyed topic: whose value this is. Of `presence`: which member it is about. */
	readonly key?: string;
	/** In a keyed topic: true where the key was taken away. Of `presence`: true where the member has left. Then `data` is empty. */
	readonly removed?: true;
	/** CloudEvents attributes that the publisher set, and `authtype` and `authid`, which only the server sets. */
	readonly attributes: Attributes;
	readonly data: string | Uint8Array;
}
/**
 * Messages after the last one received are gone. Subscribe again with `since: error.from` to continue: in a keyed topic with
 * every value, which take the place of what was received before.
 */
export declare class GapError extends Error {
	readonly name = "GapError";
	/** The id to continue after, in a keyed topic with the base of the snapshot that follows. */
	readonly from: string;
	constructor({ topic, requested, from }: Gap);
}
interface HandlerSettings {
	/**
	 * Largest message in bytes, by socket, by POST or from a program. Default 1 MiB, from 1 byte to 1 GiB. A message is held
	 * whole before it is passed on, so this is what one client can make the server hold.
	 */
	readonly messageBytesMax: number;
	/**
	 * Most unsent bytes held for a client that reads too slowly; beyond it the client is cut. Default 2 MiB, from 4 KiB to
	 * 1 GiB, and at least twice `messageBytesMax`. The last message is not counted. Past half of it
	 * publishers to its topics wait, down to 2 MiB a second. Less would cut healthy readers in a burst,
	 * more would let a thousand stalled ones take the memory of the machine.
	 */
	readonly bufferedBytesMax: number;
	/**
	 * Most unsent bytes held for all connections together; beyond it those that hold most are cut, down to 90 % of it. Default 0, which is a
	 * quarter of the memory that the process may use and at least 64 MiB, up to 1 TiB. Without it a thousand stalled readers
	 * take the memory of the machine, each within its own limit.
	 */
	readonly bufferedBytesTotalMax: number;
	/**
	 * Seconds of silence after which a client is pinged. Default 25 s, from 1 s to 1 h. Some proxies and mobile networks
	 * forget a connection that is silent for 30 s.
	 */
	readonly heartbeatIntervalSeconds: number;
	/**
	 * Seconds of further silence after which the client is cut. Default 20 s, from 1 s to 1 h. It must be longer than the
	 * slowest round trip. Until it is over, a client that is gone still holds its memory.
	 */
	readonly heartbeatTimeoutSeconds: number;
	/**
	 * Directory that keeps the topics. Default none: they are in memory, and lost with the process. With it a restart, an
	 * upgrade or a crash is no gap. It is made if it is missing, and belongs to one process. On a local disk: the locks and the
	 * fsync of network filesystems may not hold.
	 */
	readonly data: string;
	/**
	 * Messages kept of each topic, for clients that return. Default 10000, from 0 to 1,000,000: the answer of a model has
	 * thousands of pieces, and `--history-age` and `--history-bytes` bound the memory. With 0 only clients that missed
	 * nothing resume.
	 */
	readonly historyMessages: number;
	/** Seconds for which a message is kept. Default 10 min, from 1 s to 365 days. */
	readonly historyAgeSeconds: number;
	/**
	 * Other numbers and ages for some topics, each as `<pattern> <messages> <age>`, such as `log/* 1000 2h`. Default none. The
	 * first whose pattern matches counts. One server may have chats of an hour and logs of a week.
	 */
	readonly retain: readonly string[];
	/**
	 * Keyed topics: each keeps the last message of each key and no others, so that a reader gets the state, then every change
	 * of it. Default none. Each is a name or a prefix that ends in `*`. A topic that is made keyed, or plain again, begins a new
	 * epoch without what it had.
	 */
	readonly keyed: readonly string[];
	/**
	 * Keys of one keyed topic. Default 100000, from 1 to 10,000,000. Values are never dropped to make room: past it a new key
	 * is refused with 507. As many removed keys are remembered for readers that return.
	 */
	readonly keysMax: number;
	/**
	 * Topics into which others go, each as `<pattern> <topic>`, such as `chat/* all-chats`. Default none. What is published to a
	 * topic that matches is also appended to the feed, in the same step, with the attributes `origin` and `originid`. Nobody
	 * publishes to a feed. With `--data`, `--max-message` is at most 128 MiB then.
	 */
	readonly feeds: readonly string[];
	/**
	 * Topics whose members are known: `GET /presence/{topic}` shows who has a line there. Default none. Each is a name or a prefix
	 * that ends in `*`. A line is a member if its token has a `sub` and the claim `member`. Its `sub` is shown to everyone who may
	 * read the presence of the topic.
	 */
	readonly presence: readonly string[];
	/**
	 * Seconds for which a member stays without a line. Default 5 s, from 1 s to 10 min: a reload of a page, a handover between
	 * networks or a deploy is no leaving. All nodes of a Redis have the same.
	 */
	readonly presenceGraceSeconds: number;
	/**
	 * Members of one topic. Default 1000, from 1 to 100,000. The line of one more is closed with 1013. Where all members read who
	 * is here, the messages grow with the square of their number.
	 */
	readonly presenceMembersMax: number;
	/**
	 * Whether event streams and polls of topics are compressed for clients that accept gzip: `"on"` or `"off"`. Default `on`.
	 * A message is compressed once for all of its readers, by itself. WebSockets are not compressed.
	 */
	readonly compression: "on" | "off";
	/**
	 * Bytes kept of all topics together. Default 64 MiB, and 1 GiB of the file with `data`; from 0 to 1 TiB. In memory the
	 * messages of the topics that were silent for longest are dropped first, on disk the oldest messages. It holds whatever
	 * clients do: they can invent any number of topics. A topic that has messages counts as about 600 bytes and its name.
	 */
	readonly historyBytesMax: number;
	/**
	 * Seconds for which the position of an unused topic is kept. Default 1 day, from 1 s to 365 days, and at least
	 * `historyAgeSeconds`. While it is kept, a client that missed nothing resumes after any pause.
	 */
	readonly positionAgeSeconds: number;
	/**
	 * Memory in bytes for the positions of topics without messages or subscribers: about 600 bytes and the name each.
	 * Default 256 MiB, from 64 KiB to 1 TiB. Clients can invent any number of names.
	 */
	readonly positionBytesMax: number;
	/**
	 * Memory in bytes for idempotency keys: about 640 bytes each. Default 64 MiB, from 64 KiB to 1 TiB. When it is full, the
	 * publisher with the most keys loses its oldest ones.
	 */
	readonly idempotencyBytesMax: number;
	/**
	 * URL of the Redis server that keeps the topics: `redis://`, `rediss://` with TLS, or `unix://`, with user, password and
	 * database (`unix:///path?db=0`). Default none, which keeps them in this process. Only its host, port and database are
	 * logged. All nodes with the same server and prefix have the same topics. With a password it belongs into the variable,
	 * because a command line can be read by others on the machine.
	 */
	readonly redisUrl: string;
	/**
	 * URL of the nearest replica of that server, in the forms of `redisUrl`. Default none. A node far from the primary hears
	 * announcements and reads history there; it publishes to the primary, and asks it whatever is in doubt.
	 */
	readonly redisReplicaUrl: string;
	/** Begins the name of every key and channel in Redis. Default `longwire`. Two prefixes do not see each other's topics. */
	readonly redisPrefix: string;
	/**
	 * Replicas of Redis that must have a message before its publisher is answered. Default 0, up to 16. Without it a failover
	 * can lose messages that were answered with 200. If fewer have it within 1 s, the answer is 503, and it is unknown whether
	 * the message is kept.
	 */
	readonly redisAcknowledge: number;
	/**
	 * Whether a failover of Redis is a gap only if a node proves that the promoted replica lacks what was answered to it.
	 * Default false, and then each failover is a gap for every topic: what no living node knows cannot be proved. It needs
	 * `redisAcknowledge`.
	 */
	readonly redisLosslessFailover: boolean;
	/**
	 * Most connections open at once, streams included. Default 0, up to 10,000,000. 0 is the limit on file descriptors less
	 * 256: a server without a free descriptor could not even refuse a connection.
	 */
	readonly connectionsMax: number;
	/**
	 * Most connections open at once from one address. Default 0, which is no limit, up to 10,000,000. It is off by default
	 * because all clients of a proxy that `trustedProxies` does not name have the same address. IPv6 counts by /64.
	 */
	readonly connectionsPerAddressMax: number;
	/**
	 * Most messages and pings that a client may send in a second; beyond it the connection is closed with 1013. Default 0,
	 * which is no limit, up to 10,000,000. The right figure depends on the application.
	 */
	readonly messagesPerSecondMax: number;
	/**
	 * Seconds of silence after which a stream of publications is ended with 408. Default 1 h, from 1 s to 7 days. A model
	 * thinks, a log waits: long silence is normal, and ends only what nobody writes to any more.
	 */
	readonly publishSilenceSeconds: number;
	/**
	 * Seconds between the moment when /readyz turns 503 and the closing of the listener. Default 0 s, up to 1 h. A load
	 * balancer needs them to send new clients elsewhere.
	 */
	readonly drainDelaySeconds: number;
	/**
	 * Seconds over which draining closes the connections. Default 0 s, with `redisUrl` 5 s, up to 1 h. 0 suits a node that no
	 * other can replace: a client that is closed early finds nobody, and publishers wait (measured: 4.7 s, and clients were
	 * back after up to 16 s). Where other nodes serve the same topics, 5 s keeps all clients from arriving there in one moment.
	 */
	readonly drainWindowSeconds: number;
	/**
	 * Keys of backends, which may do everything, of at least 16 visible ASCII characters each. Default none. 16 random bytes
	 * cannot be guessed.
	 */
	readonly apiKeys: readonly string[];
	/**
	 * Secrets of tokens that are signed with HS256, of at least 32 bytes each. Default none. A key for HS256 must have as many
	 * bytes as its hash (RFC 7518 section 3.2).
	 */
	readonly jwtSecrets: readonly string[];
	/** Public keys of tokens in PEM: RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519. Default none. */
	readonly jwtPublicKeys: readonly string[];
	/**
	 * URLs at which an identity provider publishes its keys (RFC 7517). Default none. The keys are fetched when needed and again
	 * after 10 min, and stay valid while it does not answer.
	 */
	readonly jwksUrls: readonly string[];
	/**
	 * A token must have one of these as `aud`. Default none, which takes any. Needs a key of tokens. It is needed where the
	 * issuer signs tokens for others too.
	 */
	readonly jwtAudiences: readonly string[];
	/** A token must have one of these as `iss`. Default none, which takes any. Needs a key of tokens. */
	readonly jwtIssuers: readonly string[];
	/**
	 * Seconds by which the clock of the issuer of tokens may differ from this machine's. Default 5 s, up to 5 min: so much
	 * later than its `exp`, or earlier than its `nbf`, a token is still taken. Needs a key of tokens. An open connection ends
	 * at `exp` all the same.
	 */
	readonly tokenLeewaySeconds: number;
	/** Topics that anyone may subscribe to: names, or prefixes that end in `*`. Default none. Needs a key or `authorize`. */
	readonly publicTopics: readonly string[];
	/**
	 * Name of a cookie that may carry the token. Default none. A browser sends cookies with the requests of every page, so
	 * this relies on the check of the `Origin`, and cannot be combined with the origin `*`. Needs a key or `authorize`.
	 */
	readonly tokenCookie: string;
	/**
	 * Whether /ping needs a valid token. Default false. Needs a key or `authorize`, which without a key is asked for
	 * `subscribe` on `ping`.
	 */
	readonly privatePing: boolean;
	/**
	 * Whether messages carry who sent them: the attribute `authid` has a token's `sub`, or the subject that `authorize` named.
	 * Default false, because it shows each sender's `sub` to every reader. Needs a key or `authorize`.
	 */
	readonly stampSender: boolean;
	/**
	 * Networks of proxies, such as `10.0.0.0/8`, whose `X-Forwarded-For` and `X-Forwarded-Host` are believed. Default none. Any
	 * client can send such headers, so they are believed only from these networks.
	 */
	readonly trustedProxies: readonly string[];
	/**
	 * Origins of pages of other sites that may connect, such as `https://example.org`, or `*` for any. Default none. Otherwise
	 * a page of another site could use a visitor's browser to reach a server that only the visitor can reach. A refusal is
	 * logged with the flag that would allow it.
	 */
	readonly origins: readonly string[];
	/**
	 * Least severe log line that is written: `trace`, `debug`, `info`, `warn`, `error`, `fatal`, or none with `silent`. Default
	 * `info`. `debug` adds a line for each connection.
	 */
	readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
}
interface ServerSettings {
	/**
	 * Address to listen on. Default `127.0.0.1`: nobody else reaches a server that was started to be tried. An address that
	 * others reach needs a key, or `insecure`.
	 */
	readonly host: string;
	/** Port to listen on. Default 9090, from 0 to 65,535. 0 takes any free port. */
	readonly port: number;
	/** Path of a socket file to listen on, in place of host and port. Default none. For a proxy on the same machine. */
	readonly unixSocket: string;
	/**
	 * Whether other processes may listen on the same port, to use more than one core. Default false. The kernel spreads the
	 * connections over them. Needs `redisUrl`, or each process would have other topics.
	 */
	readonly reusePort: boolean;
	/**
	 * Port on which /healthz, /readyz and /metrics are served, by plain HTTP and only there, until the process ends. Default 0,
	 * which serves them on the other port, up to 65,535. With `reusePort` each process needs one of its own.
	 */
	readonly operationsPort: number;
	/** The same with the path of a socket file. Default none. */
	readonly operationsUnixSocket: string;
	/** File with the certificate chain in PEM. Default none. A renewed one is taken by `reload`, and on SIGHUP. */
	readonly tlsCertificateFile: string;
	/** File with the private key of the certificate in PEM, without a passphrase. Default none. */
	readonly tlsKeyFile: string;
	/**
	 * Whether a server without a key may be reached from other machines. Default false: without a key anyone may publish and
	 * subscribe, and on loopback that is only this machine.
	 */
	readonly insecure: boolean;
}
/** The settings of `createHandler`. All times are in seconds, all sizes in bytes. */
type GivenHandlerConfig = HandlerSettings;
/** The settings of `createServer`: those of a handler, and where to listen. */
type GivenConfig = GivenHandlerConfig & ServerSettings;
/** A setting that is out of range, or that contradicts another. The message names it and says what is allowed. */
export declare class ConfigError extends Error {
	readonly name = "ConfigError";
	/** @param what without the full stop that ends it */
	constructor(what: string);
}
/** What a program may publish: text, bytes (a buffer, or any view of one), or what JSON can hold. */
export type PublishData = string | ArrayBuffer | SharedArrayBuffer | ArrayBufferView | object;
export interface PublishOptions {
	/** A media type. Left out: text/plain for a string, application/octet-stream for bytes, application/json for an object. */
	readonly contentType?: string;
	/** The same key within 5 minutes on the same topic publishes once and answers with the first id. */
	readonly idempotencyKey?: string;
	/**
	 * CloudEvents attributes by name, such as `{ type: "token", subject: "42" }`: strings, booleans or whole numbers of 32 bits,
	 * at most 20 and 1 KiB together. A name has only a-z and 0-9.
	 */
	readonly attributes?: Attributes;
	/** In a keyed topic: whose value the data is, 1 to 255 bytes of UTF-8. It takes the place of the key's earlier one. */
	readonly key?: string;
	/** In a keyed topic: the id of the key's value, without which nothing is published. `"*"` is any value. */
	readonly ifMatch?: string;
	/** In a keyed topic: publishes only if the key has no value. */
	readonly ifAbsent?: boolean;
	/** Ends the topic after the message: nothing can be published to it later, and its subscribers are told. */
	readonly end?: boolean;
}
export type RemoveOptions = Pick<PublishOptions, "idempotencyKey" | "ifMatch">;
/** Where a message is now. */
export interface Published {
	readonly topic: string;
	/** `<epoch>-<offset>`. */
	readonly id: string;
	/** The id of the topic's end, if the publication ended it. */
	readonly end?: string;
}
/** Whom a subscription of the program stands for. */
export interface MemberOptions {
	/** Its name, 1 to 255 bytes of UTF-8. Subscriptions and lines with the same key are one member. */
	readonly key: string;
	/** What others may see of it: `true`, or an object of at most 1 KiB as JSON. Left out, `true`. */
	readonly info?: true | object;
}
export interface ReadOptions {
	/** An id, `all`, `last:N`, a span such as `90s`, or a time such as `2026-11-24T17:30:00Z`; left out, from now on. */
	readonly since?: string;
	/** Ends the iteration. */
	readonly signal?: AbortSignal;
}
export interface SubscribeOptions extends ReadOptions {
	/** In a topic with presence: others see this member there, from the first `next()` to the end of the iteration. */
	readonly member?: MemberOptions;
}
/** The data of a message is larger than `messageBytesMax`. */
export declare class MessageSizeError extends Error {
	readonly name = "MessageSizeError";
}
/** The server was stopped, or the handler disposed of: nothing can be published or subscribed to any more. */
export declare class StoppedError extends Error {
	readonly name = "StoppedError";
}
/** A handler as `Bun.serve` calls it. */
export type RequestHandler = (request: Request, server: Server<unknown>) => Answer | Promise<Answer>;
/** Handlers by path, as `Bun.serve` takes them. */
export type Routes = Record<string, RequestHandler>;
/** Why a data directory cannot be used, and what to do. */
export declare class DataDirectoryError extends Error {
	readonly name = "DataDirectoryError";
	/** @param what without the full stop that ends it */
	constructor(what: string);
}
export interface Options extends GivenHandlerConfig {
	/** Where to mount, such as `/realtime`: begins with a slash and does not end in one. By default at the root. */
	readonly prefix: string;
	/** Takes the log lines. By default they go to stderr. */
	readonly log: Logger;
	/** Asked for each topic that no token allows. With it and without keys it alone decides. */
	readonly authorize: Authorize;
}
/** Settings of a server of its own, by their names in `Config`; `log` and `authorize` as in `Options`. */
export type ServerOptions = GivenConfig & Pick<Options, "log" | "authorize">;
/** What `createHandler` returns. Disposing it closes its connections with 1001. */
export interface Longwire extends AsyncDisposable {
	/** `/ping`, `/topics/*` and `/presence/*`, below the prefix, for the `routes` of `Bun.serve`. */
	readonly routes: Routes;
	/**
	 * The handler for the `websocket` of `Bun.serve`. Bun takes one for all sockets of a server.
	 *
	 * ```ts
	 * import { createHandler } from "longwire";
	 *
	 * const longwire = createHandler();
	 * const server = Bun.serve({
	 *   port: 0,
	 *   routes: longwire.routes,
	 *   fetch: (request, server) =>
	 *     server.upgrade(request, { data: { name: "ann" } }) ? undefined : new Response("my own page"),
	 *   websocket: longwire.websocket<{ name: string }>({
	 *     message: (socket, message) => void socket.send(`${socket.data.name}: ${message}`),
	 *   }),
	 * });
	 * await server.stop(true);
	 * await longwire[Symbol.asyncDispose]();
	 * ```
	 *
	 * @param yours receives every event of the sockets that you upgraded yourself. Its `maxPayloadLength` and
	 * `backpressureLimit`, in bytes, are the least that these sockets have
	 */
	websocket<Data>(yours?: WebSocketHandler<Data>): WebSocketHandler<Data>;
	/**
	 * Publishes a message to everyone who is subscribed to the topic, clients and program alike.
	 *
	 * ```ts
	 * import { createHandler } from "longwire";
	 *
	 * await using longwire = createHandler();
	 * const { id } = await longwire.publish("news", { hello: "world" }, { idempotencyKey: crypto.randomUUID() });
	 * console.log(id);
	 * ```
	 *
	 * @param topic 1 to 200 letters, marks and digits of any script and `. _ ~ : -`, with `/` between parts
	 * @param data at most `messageBytesMax` bytes
	 * @throws {TypeError} if the topic has no such name, or the data is neither text, bytes nor JSON, such as a Blob
	 * @throws {DraftError} if the data is not what its type says, such as JSON
	 * @throws {MessageSizeError} if the data is too large
	 * @throws {IdempotencyConflict} if the key was used within 5 minutes with other data
	 * @throws {TopicEnded} if the topic has ended
	 * @throws {ConditionFailed} in a keyed topic, if its key does not meet `ifMatch` or `ifAbsent`
	 * @throws {TopicFull} in a keyed topic, if it takes no further key
	 * @throws {TopicIsFeed} if the topic is a feed
	 * @throws {BrokerUnavailable} if it is unknown whether the message was published: repeat it with the same key
	 * @throws {StoppedError} after `stop()` or disposal
	 */
	publish(topic: string, data: PublishData, options?: PublishOptions): Promise<Published>;
	/**
	 * Subscribes to a topic: its messages in order, each once. The subscription begins with the first `next()`, and ends
	 * with the loop, the signal or the server.
	 *
	 * ```ts
	 * import { createHandler, GapError } from "longwire";
	 *
	 * await using longwire = createHandler();
	 * await longwire.publish("news", "hello");
	 * try {
	 *   for await (const { id, data } of longwire.subscribe("news", { since: "all" })) {
	 *     console.log(id, data);
	 *     break;
	 *   }
	 * } catch (error) {
	 *   if (error instanceof GapError) console.log(`messages are gone; continue with since: "${error.from}"`);
	 *   else throw error;
	 * }
	 * ```
	 *
	 * @throws {TypeError} if the topic has no such name, `since` is not an id, `all` or a span, or `member` cannot be one
	 * @throws {StoppedError} after `stop()` or disposal
	 * @throws {GapError} from the iteration, if messages after the last one are gone
	 * @throws {PresenceFull} from the iteration, if the topic takes no further member
	 * @throws {BrokerUnavailable} from the iteration, if the engine is away
	 */
	subscribe(topic: string, options?: SubscribeOptions): AsyncIterable<ReceivedMessage>;
	/**
	 * Who is on a topic, and how that changes: for each member that comes or whose info changes a message of the type
	 * `longwire.join` or `longwire.update`, with its `key` and as `data` the JSON text `{"member", "since"}`; for one that has
	 * left a message with `removed`. With `since: "all"` those who are here come first.
	 *
	 * ```ts
	 * import { createHandler } from "longwire";
	 *
	 * await using longwire = createHandler({ presence: ["room/*"] });
	 * const member = { key: "ann", info: { name: "Ann" } };
	 * const messages = longwire.subscribe("room/42", { member })[Symbol.asyncIterator]();
	 * void messages.next(); // Ann is here from now on.
	 * for await (const { key, removed, data } of longwire.presence("room/42", { since: "all" })) {
	 *   console.log(removed ? `${key} has left` : `${key} is here: ${data}`);
	 *   break;
	 * }
	 * ```
	 *
	 * @throws {TypeError} if the topic has no presence, or `since` is not an id, `all` or a span
	 * @throws {StoppedError} after `stop()` or disposal
	 * @throws {GapError} from the iteration: subscribe again with `since: error.from`, and what was received before is void
	 * @throws {BrokerUnavailable} from the iteration, if the engine is away
	 */
	presence(topic: string, options?: ReadOptions): AsyncIterable<ReceivedMessage>;
	/**
	 * Takes a key of a keyed topic away. Its subscribers are told, by a message with `removed`.
	 *
	 * ```ts
	 * import { createHandler } from "longwire";
	 *
	 * await using longwire = createHandler({ keyed: ["prices"] });
	 * await longwire.publish("prices", "187.30", { key: "AAPL" });
	 * await longwire.remove("prices", "AAPL");
	 * ```
	 *
	 * @throws {KeyAbsent} if the key has no value: nothing is published
	 * @throws {ConditionFailed} if its value is not `ifMatch`
	 * @throws {TypeError} if the topic is not keyed; what `publish` throws
	 */
	remove(topic: string, key: string, options?: RemoveOptions): Promise<Published>;
	/**
	 * The value of a key of a keyed topic.
	 *
	 * ```ts
	 * import { createHandler } from "longwire";
	 *
	 * await using longwire = createHandler({ keyed: ["prices"] });
	 * await longwire.publish("prices", "187.30", { key: "AAPL" });
	 * const { id, data } = (await longwire.value("prices", "AAPL")) ?? {};
	 * console.log(id, data);
	 * ```
	 *
	 * @returns undefined where the key has none
	 * @throws {TypeError} if the topic is not keyed
	 * @throws {BrokerUnavailable} if the engine is away
	 * @throws {StoppedError} after `stop()` or disposal
	 */
	value(topic: string, key: string): Promise<ReceivedMessage | undefined>;
	/**
	 * Opens no more connections, and closes the open ones with 1012 over `drainWindowSeconds`, so that clients reconnect to
	 * other nodes. Resolves when they are closed. Publishing continues.
	 */
	drain(): Promise<void>;
}
/** The settings that `reload` takes. */
export type Keys = Pick<GivenConfig, "apiKeys" | "jwtSecrets" | "jwtPublicKeys">;
/** Whether the engine that keeps the topics can be used. */
export interface EngineState {
	/** False until it was first reached, and while it is away: topics are answered with 503. */
	readonly available: boolean;
	/** Why it is away, or available only to be read. */
	readonly reason?: string;
}
/** What `createServer` returns. Disposing it is `stop()`. */
export interface LongwireServer extends Longwire {
	/** Whether topics can be used now. A Redis or a disk that is away is tried again and again. */
	readonly engine: EngineState;
	/** Where it listens: `http:` or `https:`, or `unix://` and the path of its socket file. */
	readonly url: URL;
	/**
	 * Takes other keys, and reads the files of the certificate again. Open connections stay open, with what they were
	 * allowed; everyone who connects from now on needs the new keys and is shown the new certificate.
	 *
	 * ```ts
	 * import { createServer } from "longwire";
	 *
	 * await using server = await createServer({ port: 0, apiKeys: ["the-key-of-last-month"] });
	 * await server.reload({ apiKeys: ["the-key-of-last-month", "the-key-of-this-month"] });
	 * ```
	 *
	 * @param keys those left out stay
	 * @throws {ConfigError} and nothing has changed, if a key or a file cannot be used, or if the last key of a kind would be
	 * taken away or a first one set: whether the server is open is decided at its start
	 */
	reload(keys?: Partial<Keys>): Promise<void>;
	/** Stops accepting, closes every connection with 1001, and resolves when all are gone, or after 2 s. */
	stop(): Promise<void>;
}
/**
 * Mounts Longwire into a `Bun.serve` of your own. Without a key and without `authorize`, everyone that your server lets in
 * may do everything.
 *
 * ```ts
 * import { createHandler } from "longwire";
 *
 * await using longwire = createHandler({
 *   prefix: "/realtime",
 *   messageBytesMax: 64 * 1024,
 *   authorize: (request, { topic }) => topic === `users/${request.headers.get("x-user")}`,
 * });
 * await using server = Bun.serve({
 *   port: 0,
 *   routes: longwire.routes, // /realtime/ping, /realtime/topics/… and /realtime/presence/…
 *   fetch: () => new Response("my own page"),
 *   websocket: longwire.websocket(),
 * });
 * console.log(server.url.href);
 * ```
 *
 * @throws {ConfigError} for an option that is not known or out of range, or that contradicts another
 * @throws {DataDirectoryError} if the directory of `data` cannot be used
 */
export declare function createHandler(options?: Partial<Options>): Longwire;
/**
 * Starts a server of its own, with the page at `/` and the endpoints for operators. If it cannot listen, everything that
 * it has opened is released.
 *
 * ```ts
 * import { createServer } from "longwire";
 *
 * await using server = await createServer({ port: 0, historyAgeSeconds: 3600 });
 * console.log(`${server.url}topics/news`);
 * ```
 *
 * @param options `port: 0` takes any free port, which `url` names
 * @throws {ConfigError} for an option that is not known, is out of range or contradicts another, a file that cannot be used, and for a
 * server without a key on an address that others reach, unless it is `insecure`
 * @throws {DataDirectoryError} if the directory of `data` cannot be used
 * @throws an error of Bun's if it cannot listen; its `code` is "EADDRINUSE" if the port is taken
 */
export declare function createServer(options?: Partial<ServerOptions>): Promise<LongwireServer>;

export {
	GivenConfig as Config,
	GivenHandlerConfig as HandlerConfig,
};

export {};
