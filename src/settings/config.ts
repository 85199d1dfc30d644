/**
 * Every setting, declared once: its flag (and so its environment variable), unit, default and reason.
 * `index.ts` reads them from a command line, the library takes them as an object; both end in one frozen Config.
 */
import { nearest } from "./nearest.ts";
import { UnitError } from "./unit-error.ts";
import {
  count,
  duration,
  feeds,
  host,
  keyPrefix,
  name,
  names,
  networks,
  oneOf,
  origins,
  path,
  presentedSecrets,
  publicKeys,
  redisUrl,
  retainedTopics,
  secrets,
  size,
  toggle,
  topicPatterns,
  type Unit,
  urls,
} from "./units.ts";

export interface Setting<Value, Given = Value> {
  /** `max-message` is `--max-message` and `LONGWIRE_MAX_MESSAGE`. */
  readonly flag: string;
  readonly unit: Unit<Value, Given>;
  readonly default: Value;
  /** The default where another setting is given. */
  readonly defaultWith?: { readonly flag: string; readonly value: Value };
  /** The line in `--help`. */
  readonly help: string;
  /** A list whose flag may be given again, or a switch that may stand alone. */
  readonly takes?: "many" | "none";
  /** `--api-key-file` names a file to read `--api-key` from: a command line can be read by others on the machine. */
  readonly fromFile?: "lines" | "pem";
  /** An empty value is refused. It is a mistake, such as a variable that was not filled in, and would leave the server open, or alone. */
  readonly isKey?: true;
}

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const minute = 60;
const day = 24 * 60 * minute;

/**
 * Settings of everything that can be mounted into another server. The docstrings are those of the library's options: what
 * it is, its unit, default and range, and why.
 */
export const handlerSettings = {
  /**
   * Largest message in bytes, by socket, by POST or from a program. Default 1 MiB, from 1 byte to 1 GiB. A message is held
   * whole before it is passed on, so this is what one client can make the server hold.
   */
  messageBytesMax: setting(
    "max-message",
    size(1, 1024 * MiB),
    1 * MiB,
    "largest WebSocket message or request body",
  ),

  /**
   * Most unsent bytes held for a client that reads too slowly; beyond it the client is cut. Default 2 MiB, from 4 KiB to
   * 1 GiB, and at least twice `messageBytesMax`. The last message is not counted. Past half of it
   * publishers to its topics wait, down to 2 MiB a second. Less would cut healthy readers in a burst,
   * more would let a thousand stalled ones take the memory of the machine.
   */
  bufferedBytesMax: setting(
    "max-buffered",
    size(4 * KiB, 1024 * MiB),
    2 * MiB,
    "most unsent bytes held for a connection",
  ),

  /**
   * Most unsent bytes held for all connections together; beyond it those that hold most are cut, down to 90 % of it. Default 0, which is a
   * quarter of the memory that the process may use and at least 64 MiB, up to 1 TiB. Without it a thousand stalled readers
   * take the memory of the machine, each within its own limit.
   */
  bufferedBytesTotalMax: setting(
    "max-buffered-total",
    size(0, 1024 * GiB),
    0,
    "most unsent bytes of all connections; 0 for a quarter of the memory",
  ),

  /**
   * Seconds of silence after which a client is pinged. Default 25 s, from 1 s to 1 h. Some proxies and mobile networks
   * forget a connection that is silent for 30 s.
   */
  heartbeatIntervalSeconds: setting(
    "heartbeat-interval",
    duration(1, 3600),
    25,
    "silence before a client is pinged",
  ),

  /**
   * Seconds of further silence after which the client is cut. Default 20 s, from 1 s to 1 h. It must be longer than the
   * slowest round trip. Until it is over, a client that is gone still holds its memory.
   */
  heartbeatTimeoutSeconds: setting(
    "heartbeat-timeout",
    duration(1, 3600),
    20,
    "further silence before it is cut",
  ),

  /**
   * Directory that keeps the topics. Default none: they are in memory, and lost with the process. With it a restart, an
   * upgrade or a crash is no gap. It is made if it is missing, and belongs to one process. On a local disk: the locks and the
   * fsync of network filesystems may not hold.
   */
  data: setting("data", path, "", "directory that keeps the topics; without it they are in memory"),

  /**
   * Messages kept of each topic, for clients that return. Default 10000, from 0 to 1,000,000: the answer of a model has
   * thousands of pieces, and `--history-age` and `--history-bytes` bound the memory. With 0 only clients that missed
   * nothing resume.
   */
  historyMessages: setting("history-messages", count(0, 1_000_000), 10_000, "messages kept of a topic"),

  /** Seconds for which a message is kept. Default 10 min, from 1 s to 365 days. */
  historyAgeSeconds: setting(
    "history-age",
    duration(1, 365 * day),
    10 * minute,
    "how long a message is kept",
  ),

  /**
   * Other numbers and ages for some topics, each as `<pattern> <messages> <age>`, such as `log/* 1000 2h`. Default none. The
   * first whose pattern matches counts. One server may have chats of an hour and logs of a week.
   */
  retain: setting("retain", retainedTopics, [], 'other history for some topics, as "log/* 1000 2h"', {
    takes: "many",
  }),

  /**
   * Keyed topics: each keeps the last message of each key and no others, so that a reader gets the state, then every change
   * of it. Default none. Each is a name or a prefix that ends in `*`. A topic that is made keyed, or plain again, begins a new
   * epoch without what it had.
   */
  keyed: setting("keyed", topicPatterns, [], "topics that keep the last message of each key", {
    takes: "many",
  }),

  /**
   * Keys of one keyed topic. Default 100000, from 1 to 10,000,000. Values are never dropped to make room: past it a new key
   * is refused with 507. As many removed keys are remembered for readers that return.
   */
  keysMax: setting("keys-max", count(1, 10_000_000), 100_000, "keys of one keyed topic"),

  /**
   * Topics into which others go, each as `<pattern> <topic>`, such as `chat/* all-chats`. Default none. What is published to a
   * topic that matches is also appended to the feed, in the same step, with the attributes `origin` and `originid`. Nobody
   * publishes to a feed. With `--data`, `--max-message` is at most 128 MiB then.
   */
  feeds: setting("feed", feeds, [], 'topics into which others go, as "chat/* all-chats"', { takes: "many" }),

  /**
   * Topics whose members are known: `GET /presence/{topic}` shows who has a line there. Default none. Each is a name or a prefix
   * that ends in `*`. A line is a member if its token has a `sub` and the claim `member`. Its `sub` is shown to everyone who may
   * read the presence of the topic.
   */
  presence: setting("presence", topicPatterns, [], "topics whose members are known, with the sub of each", {
    takes: "many",
  }),

  /**
   * Seconds for which a member stays without a line. Default 5 s, from 1 s to 10 min: a reload of a page, a handover between
   * networks or a deploy is no leaving. All nodes of a Redis have the same.
   */
  presenceGraceSeconds: setting(
    "presence-grace",
    duration(1, 600),
    5,
    "how long a member stays without a line",
  ),

  /**
   * Members of one topic. Default 1000, from 1 to 100,000. The line of one more is closed with 1013. Where all members read who
   * is here, the messages grow with the square of their number.
   */
  presenceMembersMax: setting("presence-members", count(1, 100_000), 1000, "members of one topic"),

  /**
   * Whether event streams and polls of topics are compressed for clients that accept gzip: `"on"` or `"off"`. Default `on`.
   * A message is compressed once for all of its readers, by itself. WebSockets are not compressed.
   */
  compression: setting(
    "compression",
    oneOf("on", "off"),
    "on",
    "compress event streams and polls for who accepts it",
  ),

  /**
   * Bytes kept of all topics together. Default 64 MiB, and 1 GiB of the file with `data`; from 0 to 1 TiB. In memory the
   * messages of the topics that were silent for longest are dropped first, on disk the oldest messages. It holds whatever
   * clients do: they can invent any number of topics. A topic that has messages counts as about 600 bytes and its name.
   */
  historyBytesMax: setting(
    "history-bytes",
    size(0, 1024 * GiB),
    64 * MiB,
    "history kept of all topics together",
    { defaultWith: { flag: "data", value: 1 * GiB } },
  ),

  /**
   * Seconds for which the position of an unused topic is kept. Default 1 day, from 1 s to 365 days, and at least
   * `historyAgeSeconds`. While it is kept, a client that missed nothing resumes after any pause.
   */
  positionAgeSeconds: setting(
    "position-age",
    duration(1, 365 * day),
    1 * day,
    "how long an unused topic's position is kept",
  ),

  /**
   * Memory in bytes for the positions of topics without messages or subscribers: about 600 bytes and the name each.
   * Default 256 MiB, from 64 KiB to 1 TiB. Clients can invent any number of names.
   */
  positionBytesMax: setting(
    "position-bytes",
    size(64 * KiB, 1024 * GiB),
    256 * MiB,
    "memory for unused topics' positions",
  ),

  /**
   * Memory in bytes for idempotency keys: about 640 bytes each. Default 64 MiB, from 64 KiB to 1 TiB. When it is full, the
   * publisher with the most keys loses its oldest ones.
   */
  idempotencyBytesMax: setting(
    "idempotency-bytes",
    size(64 * KiB, 1024 * GiB),
    64 * MiB,
    "memory for idempotency keys",
  ),

  /**
   * URL of the Redis server that keeps the topics: `redis://`, `rediss://` with TLS, or `unix://`, with user, password and
   * database (`unix:///path?db=0`). Default none, which keeps them in this process. Only its host, port and database are
   * logged. All nodes with the same server and prefix have the same topics. With a password it belongs into the variable,
   * because a command line can be read by others on the machine.
   */
  redisUrl: setting("redis", redisUrl, undefined, "server of Redis that keeps the topics, for many nodes", {
    isKey: true,
  }),

  /**
   * URL of the nearest replica of that server, in the forms of `redisUrl`. Default none. A node far from the primary hears
   * announcements and reads history there; it publishes to the primary, and asks it whatever is in doubt.
   */
  redisReplicaUrl: setting(
    "redis-replica",
    redisUrl,
    undefined,
    "its nearest replica, for a node far from it",
    {
      isKey: true,
    },
  ),

  /** Begins the name of every key and channel in Redis. Default `longwire`. Two prefixes do not see each other's topics. */
  redisPrefix: setting("redis-prefix", keyPrefix, "longwire", "begins the name of every key in Redis"),

  /**
   * Replicas of Redis that must have a message before its publisher is answered. Default 0, up to 16. Without it a failover
   * can lose messages that were answered with 200. If fewer have it within 1 s, the answer is 503, and it is unknown whether
   * the message is kept.
   */
  redisAcknowledge: setting(
    "redis-acknowledge",
    count(0, 16),
    0,
    "replicas that must have a message before its 200",
  ),

  /**
   * Whether a failover of Redis is a gap only if a node proves that the promoted replica lacks what was answered to it.
   * Default false, and then each failover is a gap for every topic: what no living node knows cannot be proved. It needs
   * `redisAcknowledge`.
   */
  redisLosslessFailover: setting(
    "redis-lossless-failover",
    toggle,
    false,
    "a failover is a gap only where a node proves a loss",
    { takes: "none" },
  ),

  /**
   * Most connections open at once, streams included. Default 0, up to 10,000,000. 0 is the limit on file descriptors less
   * 256: a server without a free descriptor could not even refuse a connection.
   */
  connectionsMax: setting(
    "max-connections",
    count(0, 10_000_000),
    0,
    "most open connections; 0 for what the descriptors allow",
  ),

  /**
   * Most connections open at once from one address. Default 0, which is no limit, up to 10,000,000. It is off by default
   * because all clients of a proxy that `trustedProxies` does not name have the same address. IPv6 counts by /64.
   */
  connectionsPerAddressMax: setting(
    "max-connections-per-ip",
    count(0, 10_000_000),
    0,
    "most open connections of one address; 0 for no limit",
  ),

  /**
   * Most messages and pings that a client may send in a second; beyond it the connection is closed with 1013. Default 0,
   * which is no limit, up to 10,000,000. The right figure depends on the application.
   */
  messagesPerSecondMax: setting(
    "max-rate",
    count(0, 10_000_000),
    0,
    "most messages a second from a connection; 0 for no limit",
  ),

  /**
   * Seconds of silence after which a stream of publications is ended with 408. Default 1 h, from 1 s to 7 days. A model
   * thinks, a log waits: long silence is normal, and ends only what nobody writes to any more.
   */
  publishSilenceSeconds: setting(
    "publish-silence",
    duration(1, 7 * day),
    3600,
    "silence before a stream of publications is ended",
  ),

  /**
   * Seconds between the moment when /readyz turns 503 and the closing of the listener. Default 0 s, up to 1 h. A load
   * balancer needs them to send new clients elsewhere.
   */
  drainDelaySeconds: setting(
    "drain-delay",
    duration(0, 3600),
    0,
    "time from /readyz turning 503 to the closing of the listener",
  ),

  /**
   * Seconds over which draining closes the connections. Default 0 s, with `redisUrl` 5 s, up to 1 h. 0 suits a node that no
   * other can replace: a client that is closed early finds nobody, and publishers wait (measured: 4.7 s, and clients were
   * back after up to 16 s). Where other nodes serve the same topics, 5 s keeps all clients from arriving there in one moment.
   */
  drainWindowSeconds: setting(
    "drain-window",
    duration(0, 3600),
    0,
    "time over which draining closes the connections",
    { defaultWith: { flag: "redis", value: 5 } },
  ),

  /**
   * Keys of backends, which may do everything, of at least 16 visible ASCII characters each. Default none. 16 random bytes
   * cannot be guessed.
   */
  apiKeys: setting("api-key", presentedSecrets(16), [], "key of a backend, which may do everything", {
    takes: "many",
    fromFile: "lines",
    isKey: true,
  }),

  /**
   * Secrets of tokens that are signed with HS256, of at least 32 bytes each. Default none. A key for HS256 must have as many
   * bytes as its hash (RFC 7518 section 3.2).
   */
  jwtSecrets: setting("jwt-secret", secrets(32), [], "secret of tokens signed with HS256", {
    takes: "many",
    fromFile: "lines",
    isKey: true,
  }),

  /** Public keys of tokens in PEM: RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519. Default none. */
  jwtPublicKeys: setting("jwt-public-key", publicKeys, [], "public key of tokens: RSA, EC or Ed25519", {
    takes: "many",
    fromFile: "pem",
    isKey: true,
  }),

  /**
   * URLs at which an identity provider publishes its keys (RFC 7517). Default none. The keys are fetched when needed and again
   * after 10 min, and stay valid while it does not answer.
   */
  jwksUrls: setting("jwks-url", urls, [], "where public keys of tokens are published", {
    takes: "many",
    isKey: true,
  }),

  /**
   * A token must have one of these as `aud`. Default none, which takes any. Needs a key of tokens. It is needed where the
   * issuer signs tokens for others too.
   */
  jwtAudiences: setting("jwt-audience", names, [], "accepted aud of tokens", { takes: "many" }),

  /** A token must have one of these as `iss`. Default none, which takes any. Needs a key of tokens. */
  jwtIssuers: setting("jwt-issuer", names, [], "accepted iss of tokens", { takes: "many" }),

  /**
   * Seconds by which the clock of the issuer of tokens may differ from this machine's. Default 5 s, up to 5 min: so much
   * later than its `exp`, or earlier than its `nbf`, a token is still taken. Needs a key of tokens. An open connection ends
   * at `exp` all the same.
   */
  tokenLeewaySeconds: setting(
    "token-leeway",
    duration(0, 300),
    5,
    "how far clocks of token issuers may differ",
  ),

  /** Topics that anyone may subscribe to: names, or prefixes that end in `*`. Default none. Needs a key or `authorize`. */
  publicTopics: setting("public", topicPatterns, [], "topics that anyone may subscribe to", {
    takes: "many",
  }),

  /**
   * Name of a cookie that may carry the token. Default none. A browser sends cookies with the requests of every page, so
   * this relies on the check of the `Origin`, and cannot be combined with the origin `*`. Needs a key or `authorize`.
   */
  tokenCookie: setting("token-cookie", name, "", "cookie that may carry a token"),

  /**
   * Whether /ping needs a valid token. Default false. Needs a key or `authorize`, which without a key is asked for
   * `subscribe` on `ping`.
   */
  privatePing: setting("private-ping", toggle, false, "ask for a token on /ping too", { takes: "none" }),

  /**
   * Whether messages carry who sent them: the attribute `authid` has a token's `sub`, or the subject that `authorize` named.
   * Default false, because it shows each sender's `sub` to every reader. Needs a key or `authorize`.
   */
  stampSender: setting("stamp-sender", toggle, false, "show readers who sent a message, as authid", {
    takes: "none",
  }),

  /**
   * Networks of proxies, such as `10.0.0.0/8`, whose `X-Forwarded-For` and `X-Forwarded-Host` are believed. Default none. Any
   * client can send such headers, so they are believed only from these networks.
   */
  trustedProxies: setting("trust-proxy", networks, [], "networks whose X-Forwarded-… headers are believed", {
    takes: "many",
  }),

  /**
   * Origins of pages of other sites that may connect, such as `https://example.org`, or `*` for any. Default none. Otherwise
   * a page of another site could use a visitor's browser to reach a server that only the visitor can reach. A refusal is
   * logged with the flag that would allow it.
   */
  origins: setting("origin", origins, [], "pages of other origins that may connect; * for any", {
    takes: "many",
  }),

  /**
   * Least severe log line that is written: `trace`, `debug`, `info`, `warn`, `error`, `fatal`, or none with `silent`. Default
   * `info`. `debug` adds a line for each connection.
   */
  logLevel: setting(
    "log-level",
    oneOf("trace", "debug", "info", "warn", "error", "fatal", "silent"),
    "info",
    "least severe log line written to stderr",
  ),
} as const;

/** Settings of a server with a listener of its own. */
const serverSettings = {
  /**
   * Address to listen on. Default `127.0.0.1`: nobody else reaches a server that was started to be tried. An address that
   * others reach needs a key, or `insecure`.
   */
  host: setting("host", host, "127.0.0.1", "address to listen on"),

  /** Port to listen on. Default 9090, from 0 to 65,535. 0 takes any free port. */
  port: setting("port", count(0, 65_535), 9090, "port to listen on, 0 for any free one"),

  /** Path of a socket file to listen on, in place of host and port. Default none. For a proxy on the same machine. */
  unixSocket: setting("unix", path, "", "socket file to listen on, in place of host and port"),

  /**
   * Whether other processes may listen on the same port, to use more than one core. Default false. The kernel spreads the
   * connections over them. Needs `redisUrl`, or each process would have other topics.
   */
  reusePort: setting("reuse-port", toggle, false, "share the port with other processes, for more cores", {
    takes: "none",
  }),

  /**
   * Port on which /healthz, /readyz and /metrics are served, by plain HTTP and only there, until the process ends. Default 0,
   * which serves them on the other port, up to 65,535. With `reusePort` each process needs one of its own.
   */
  operationsPort: setting(
    "operations-port",
    count(0, 65_535),
    0,
    "port for /healthz, /readyz and /metrics alone",
  ),

  /** The same with the path of a socket file. Default none. */
  operationsUnixSocket: setting("operations-unix", path, "", "socket file for the same, in place of a port"),

  /** File with the certificate chain in PEM. Default none. A renewed one is taken by `reload`, and on SIGHUP. */
  tlsCertificateFile: setting(
    "tls-cert",
    path,
    "",
    "certificate chain in PEM; a renewed one is taken on SIGHUP",
  ),

  /** File with the private key of the certificate in PEM, without a passphrase. Default none. */
  tlsKeyFile: setting("tls-key", path, "", "private key of the certificate, in PEM"),

  /**
   * Whether a server without a key may be reached from other machines. Default false: without a key anyone may publish and
   * subscribe, and on loopback that is only this machine.
   */
  insecure: setting("insecure", toggle, false, "serve other machines though no key is set", {
    takes: "none",
  }),
} as const;

export const settings = { ...serverSettings, ...handlerSettings } as const;

/** The values of settings, by name, as the server uses them. */
type Values<Settings> = {
  readonly [Name in keyof Settings]: Settings[Name] extends Setting<infer Value, unknown> ? Value : never;
};

/** The values of settings, by name, as a program gives them. */
type GivenValues<Settings> = {
  readonly [Name in keyof Settings]: Settings[Name] extends Setting<unknown, infer Given> ? Given : never;
};

export type HandlerConfig = Values<typeof handlerSettings>;
export type Config = HandlerConfig & Values<typeof serverSettings>;

/** The settings of `createHandler`. All times are in seconds, all sizes in bytes. */
export type GivenHandlerConfig = GivenValues<typeof handlerSettings>;

/** The settings of `createServer`: those of a handler, and where to listen. */
export type GivenConfig = GivenHandlerConfig & GivenValues<typeof serverSettings>;

/** A setting that is out of range, or that contradicts another. The message names it and says what is allowed. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  /** @param what without the full stop that ends it */
  constructor(what: string) {
    super(`${what}.`);
  }
}

/** Settings by name. */
export type Settings = Readonly<Record<string, Setting<unknown>>>;

/**
 * Reads what a program gives.
 * @throws {ConfigError} for a name that is not declared, and a value out of range
 */
export function readOptions<Declared extends Settings>(
  declared: Declared,
  given: Partial<GivenValues<Declared>>,
): Partial<Values<Declared>> {
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    requireDeclared(name, declared);
    if (value === undefined) continue;
    try {
      values[name] = declared[name]?.unit.accept(value);
    } catch (error) {
      if (error instanceof UnitError) throw new ConfigError(`${name} ${error.message}`);
      throw error;
    }
  }
  return values as Partial<Values<Declared>>;
}

/** Fills in the defaults of what was not given. */
export function completeConfig<Declared extends Settings>(
  declared: Declared,
  given: Partial<Values<Declared>>,
): Values<Declared> {
  const isGiven = (flag: string): boolean =>
    Object.entries(declared).some(([name, setting]) => setting.flag === flag && Boolean(given[name]));
  const entries = Object.entries(declared).map(([name, { default: defaultValue, defaultWith }]) => [
    name,
    given[name] ?? (defaultWith && isGiven(defaultWith.flag) ? defaultWith.value : defaultValue),
  ]);
  return Object.freeze(Object.fromEntries(entries));
}

/** An option that nothing reads would be a limit that does not hold. @throws {ConfigError} */
function requireDeclared(name: string, declared: Settings): void {
  if (Object.hasOwn(declared, name)) return;
  if (Object.hasOwn(serverSettings, name))
    throw new ConfigError(
      `${name} is not an option here: it is one of createServer, which listens by itself`,
    );
  const asFlag = name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const meant =
    Object.keys(declared).find((known) => declared[known]?.flag === asFlag) ??
    nearest(name, Object.keys(declared));
  throw new ConfigError(`${name} is not an option${meant === undefined ? "" : `: did you mean ${meant}?`}`);
}

/** `max-message` → `LONGWIRE_MAX_MESSAGE` */
export function environmentName(flag: string): string {
  return `LONGWIRE_${flag.toUpperCase().replaceAll("-", "_")}`;
}

/** Declares a setting of the server or of a command. */
export function setting<Value, Given>(
  flag: string,
  unit: Unit<Value, Given>,
  defaultValue: Value,
  help: string,
  traits: Pick<Setting<Value>, "takes" | "fromFile" | "isKey" | "defaultWith"> = {},
): Setting<Value, Given> {
  return { flag, unit, default: defaultValue, help, ...traits };
}
