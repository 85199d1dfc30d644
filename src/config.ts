/**
 * Every setting, declared once: its flag (and so its environment variable), unit, default and reason.
 * `index.ts` reads them from a command line, the library takes them as an object; both end in one frozen Config.
 */
import { count, duration, host, oneOf, origins, size, type Unit, UnitError } from "./units.ts";

export interface Setting<Value> {
  /** `max-message` is `--max-message` and `LONGWIRE_MAX_MESSAGE`. */
  readonly flag: string;
  readonly unit: Unit<Value>;
  readonly default: Value;
  /** The line in `--help`. */
  readonly help: string;
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

  /** A position is about 300 bytes. While it is known, who missed nothing is told so after any pause. */
  positionAgeSeconds: setting(
    "position-age",
    duration(1, 365 * day),
    1 * day,
    "how long an unused topic's position is kept",
  ),

  /** A page of another site could otherwise use a visitor's browser to reach a server that only the visitor reaches. */
  origins: setting("origin", origins, [], "pages of other origins that may connect; * for any"),

  /** Debug adds a line for each connection. */
  logLevel: setting(
    "log-level",
    oneOf("trace", "debug", "info", "warn", "error", "fatal", "silent"),
    "info",
    "least severe log line written to stderr",
  ),
} as const;

/** What only a server that owns its listener can be told. */
export const serverSettings = {
  /** Loopback: nobody else reaches a server that was started to be tried. */
  host: setting("host", host, "127.0.0.1", "address to listen on"),
  port: setting("port", count(0, 65_535), 9090, "port to listen on, 0 for any free one"),
} as const;

export const settings = { ...serverSettings, ...handlerSettings } as const;

type Values<Settings> = {
  readonly [Name in keyof Settings]: Settings[Name] extends Setting<infer Value> ? Value : never;
};

export type HandlerConfig = Values<typeof handlerSettings>;
export type Config = Values<typeof settings>;

/** A setting that a program got wrong; the message names it and says what is allowed. */
export class ConfigError extends Error {}

/**
 * Fills in the defaults and checks what was given.
 * @throws {ConfigError} for a value out of range
 */
export function completeConfig<Settings extends Record<string, Setting<unknown>>>(
  declared: Settings,
  given: Partial<Values<Settings>>,
): Values<Settings> {
  const entries = Object.entries(declared).map(([name, { unit, default: standard }]) => {
    const value = given[name as keyof Settings];
    if (value === undefined) return [name, standard];
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

function setting<Value>(flag: string, unit: Unit<Value>, standard: Value, help: string): Setting<Value> {
  return { flag, unit, default: standard, help };
}
