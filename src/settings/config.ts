/**
 * Every setting, declared once: its flag (and so its environment variable), unit, default and reason.
 * `index.ts` reads them from a command line, the library takes them as an object; both end in one frozen Config.
 */
import {
  count,
  duration,
  host,
  name,
  names,
  networks,
  oneOf,
  origins,
  path,
  presentedSecrets,
  publicKeys,
  secrets,
  size,
  toggle,
  topicPatterns,
  type Unit,
  UnitError,
  urls,
} from "./units.ts";

export interface Setting<Value> {
  /** `max-message` is `--max-message` and `LONGWIRE_MAX_MESSAGE`. */
  readonly flag: string;
  readonly unit: Unit<Value>;
  readonly default: Value;
  /** The line in `--help`. */
  readonly help: string;
  /** A list whose flag may be given again, or a switch that may stand alone. */
  readonly takes?: "many" | "none";
  /** `--api-key-file` names a file to read `--api-key` from: a command line can be read by others on the machine. */
  readonly fromFile?: "lines" | "pem";
  /** Given and empty is a mistake, such as a variable that nobody filled in: taken as it stands, it would open the server. */
  readonly isKey?: true;
}

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const minute = 60;
const day = 24 * 60 * minute;

/** What a mounted handler can be told. */
export const handlerSettings = {
  /** A message is held whole in memory before it is passed on, so this is what one peer can make the server hold. */
  messageBytesMax: setting(
    "max-message",
    size(1, 1024 * MiB),
    1 * MiB,
    "largest WebSocket message or request body",
  ),

  /**
   * What the server holds for one peer that reads too slowly. Less would cut healthy readers at a burst, more would let
   * a thousand stalled ones take the machine.
   */
  bufferedBytesMax: setting(
    "max-buffered",
    size(4 * KiB, 1024 * MiB),
    2 * MiB,
    "most unsent bytes held for a connection",
  ),

  /**
   * What all connections may hold unsent together; past it those that hold most are cut. Without it a thousand stalled
   * readers take the machine, each within its own limit.
   */
  bufferedBytesTotalMax: setting(
    "max-buffered-total",
    size(0, 1024 * GiB),
    0,
    "most unsent bytes of all connections; 0 for a quarter of the memory",
  ),

  /**
   * A proxy or a mobile network forgets a connection that carries nothing, some after 30 s: a ping before that keeps it.
   */
  heartbeatIntervalSeconds: setting(
    "heartbeat-interval",
    duration(1, 3600),
    25,
    "silence before a peer is pinged",
  ),

  /** Longer than the slowest round trip; until it is over a peer that is gone still holds its memory. */
  heartbeatTimeoutSeconds: setting(
    "heartbeat-timeout",
    duration(1, 3600),
    20,
    "further silence before it is cut",
  ),

  /** A client that was away for a moment resumes from these; 0 keeps none, and only those who missed nothing resume. */
  historyMessages: setting("history-messages", count(0, 1_000_000), 100, "messages kept of a topic"),
  historyAgeSeconds: setting(
    "history-age",
    duration(1, 365 * day),
    10 * minute,
    "how long a message is kept",
  ),

  /** The first of the three that holds whatever clients do: names of topics are theirs to invent. */
  historyBytesMax: setting(
    "history-bytes",
    size(0, 1024 * GiB),
    64 * MiB,
    "history kept of all topics together",
  ),

  /** A position is about 500 bytes. While it is known, who missed nothing is told so after any pause. */
  positionAgeSeconds: setting(
    "position-age",
    duration(1, 365 * day),
    1 * day,
    "how long an unused topic's position is kept",
  ),

  /** About 540 bytes and the name for each position of a topic without messages or subscribers. Names are anyone's to invent. */
  positionBytesMax: setting(
    "position-bytes",
    size(64 * KiB, 1024 * GiB),
    256 * MiB,
    "memory for unused topics' positions",
  ),

  /** About 512 bytes a key. When it is full, the publisher with the most keys loses its oldest ones. */
  idempotencyBytesMax: setting(
    "idempotency-bytes",
    size(64 * KiB, 1024 * GiB),
    64 * MiB,
    "memory for idempotency keys",
  ),

  /**
   * How many connections are open at once, in all. 0 takes what the limit on file descriptors allows: a server that has
   * none left can accept nobody, and could not say so.
   */
  connectionsMax: setting(
    "max-connections",
    count(0, 10_000_000),
    0,
    "most open connections; 0 for what the descriptors allow",
  ),

  /** Behind a proxy that is not named by --trust-proxy all clients share one address, so this is off unless set. */
  connectionsPerAddressMax: setting(
    "max-connections-per-ip",
    count(0, 10_000_000),
    0,
    "most open connections of one address; 0 for no limit",
  ),

  /** Of messages and pings. What a client may cost; the right figure is the application's. */
  messagesPerSecondMax: setting(
    "max-rate",
    count(0, 10_000_000),
    0,
    "most messages a second from a connection; 0 for no limit",
  ),

  /** Time for a load balancer to see /readyz and send new clients elsewhere before the listener closes. */
  drainDelaySeconds: setting(
    "drain-delay",
    duration(0, 3600),
    0,
    "between /readyz turning 503 and the listener closing",
  ),

  /**
   * 0 suits a node that no other can replace: a client that is closed early finds nobody, and publishers wait (measured:
   * 4.7 s, and clients were back after up to 16 s). Where other nodes serve the same topics, 5 s keeps all clients from
   * arriving there in one moment.
   */
  drainWindowSeconds: setting(
    "drain-window",
    duration(0, 3600),
    0,
    "over which draining spreads the closing of connections",
  ),

  /** 16 bytes at random cannot be guessed. */
  apiKeys: setting("api-key", presentedSecrets(16), [], "key of a backend, which may do everything", {
    takes: "many",
    fromFile: "lines",
    isKey: true,
  }),

  /** RFC 7518 section 3.2: a key for HS256 has at least the 32 bytes of its hash. */
  jwtSecrets: setting("jwt-secret", secrets(32), [], "secret of tokens signed with HS256", {
    takes: "many",
    fromFile: "lines",
    isKey: true,
  }),
  jwtPublicKeys: setting("jwt-public-key", publicKeys, [], "public key of tokens, RSA, EC or Ed25519", {
    takes: "many",
    fromFile: "pem",
    isKey: true,
  }),
  jwksUrls: setting("jwks-url", urls, [], "where public keys of tokens are published", {
    takes: "many",
    isKey: true,
  }),
  jwtAudiences: setting("jwt-audience", names, [], "aud that a token must have one of", { takes: "many" }),
  jwtIssuers: setting("jwt-issuer", names, [], "iss that a token must have one of", { takes: "many" }),
  publicTopics: setting("public", topicPatterns, [], "topics that anyone may subscribe to", {
    takes: "many",
  }),

  /** Off: a browser sends cookies with the requests of every page, so this leans on the Origin being checked. */
  tokenCookie: setting("token-cookie", name, "", "cookie that may carry a token"),
  privatePing: setting("private-ping", toggle, false, "ask for a token on /ping too", { takes: "none" }),

  /** X-Forwarded-For is what a client likes to say, unless the one that connects here is a proxy that wrote it. */
  trustedProxies: setting("trust-proxy", networks, [], "networks whose X-Forwarded-… headers are believed", {
    takes: "many",
  }),

  /** A page of another site could otherwise use a visitor's browser to reach a server that only the visitor reaches. */
  origins: setting("origin", origins, [], "pages of other origins that may connect; * for any", {
    takes: "many",
  }),

  /** Debug adds a line for each connection. */
  logLevel: setting(
    "log-level",
    oneOf("trace", "debug", "info", "warn", "error", "fatal", "silent"),
    "info",
    "least severe log line written to stderr",
  ),
} as const;

/** What only a server that owns its listener can be told. */
const serverSettings = {
  /** Loopback: nobody else reaches a server that was started to be tried. */
  host: setting("host", host, "127.0.0.1", "address to listen on"),
  port: setting("port", count(0, 65_535), 9090, "port to listen on, 0 for any free one"),

  /** For a proxy on the same machine. */
  unixSocket: setting("unix", path, "", "socket file to listen on, in place of host and port"),
  tlsCertificateFile: setting(
    "tls-cert",
    path,
    "",
    "certificate chain in PEM; a renewed one is taken by a restart",
  ),
  tlsKeyFile: setting("tls-key", path, "", "private key of the certificate, in PEM"),

  /** Without a key anyone may publish and listen; on loopback that is only who is on this machine. */
  insecure: setting("insecure", toggle, false, "serve other machines though no key is set", {
    takes: "none",
  }),
} as const;

export const settings = { ...serverSettings, ...handlerSettings } as const;

type Values<Settings> = {
  readonly [Name in keyof Settings]: Settings[Name] extends Setting<infer Value> ? Value : never;
};

export type HandlerConfig = Values<typeof handlerSettings>;
export type Config = Values<typeof settings>;

/** A setting that a program got wrong; the message names it and says what is allowed. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/**
 * Fills in the defaults and checks what was given.
 * @throws {ConfigError} for a value out of range
 */
export function completeConfig<Settings extends Record<string, Setting<unknown>>>(
  declared: Settings,
  given: Partial<Values<Settings>>,
): Values<Settings> {
  const entries = Object.entries(declared).map(([name, { unit, default: defaultValue }]) => {
    const value = given[name as keyof Settings];
    if (value === undefined) return [name, defaultValue];
    try {
      return [name, unit.check(value)];
    } catch (error) {
      if (error instanceof UnitError) throw new ConfigError(`${name} ${error.message}`);
      throw error;
    }
  });
  return Object.freeze(Object.fromEntries(entries));
}

/** `max-message` → `LONGWIRE_MAX_MESSAGE` */
export function environmentName(flag: string): string {
  return `LONGWIRE_${flag.toUpperCase().replaceAll("-", "_")}`;
}

function setting<Value>(
  flag: string,
  unit: Unit<Value>,
  defaultValue: Value,
  help: string,
  traits: Pick<Setting<Value>, "takes" | "fromFile" | "isKey"> = {},
): Setting<Value> {
  return { flag, unit, default: defaultValue, help, ...traits };
}
