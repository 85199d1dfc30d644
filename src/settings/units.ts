/** The units of settings: how text becomes a value, and which values are allowed. */
import { isTopicPattern } from "../topic/message.ts";
import type { RetainedTopics } from "../topic/retention.ts";
import { Network } from "./networks.ts";
import { parseRedisUrl, showRedisUrl } from "./redis-url.ts";

/** A value that is not allowed. The message continues the name of the setting: "must be …, not …". */
export class UnitError extends Error {
  override readonly name = "UnitError";
}

export interface Unit<Value> {
  /** Placeholder for a value in `--help`, such as `<size>`. */
  readonly placeholder: string;
  /** Reads a value as text. @throws {UnitError} */
  parse(text: string): Value;
  /** Checks a value of a program. @throws {UnitError} */
  check(value: unknown): Value;
  /** Writes a value as text that `parse` reads. */
  show(value: Value): string;
  /** Not written anywhere, not even in an error. */
  readonly isSecret?: true;
}

/** A whole number from `least` to `most`. */
export function count(least: number, most: number): Unit<number> {
  return quantity("<number>", `a whole number from ${least} to ${most}`, { "": 1 }, least, most);
}

/** Bytes, written `65536`, `64KiB` or `1MiB`. */
export function size(leastBytes: number, mostBytes: number): Unit<number> {
  const wanted = `a size from ${leastBytes} to ${mostBytes} bytes, such as 64KiB or 1MiB`;
  return quantity(
    "<size>",
    wanted,
    { "": 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 },
    leastBytes,
    mostBytes,
  );
}

/** Whole seconds, written `90s`, `10m`, `2h` or `1d`. */
export function duration(leastSeconds: number, mostSeconds: number): Unit<number> {
  const wanted = `a time from ${leastSeconds} to ${mostSeconds} seconds, such as 90s, 10m or 2h`;
  return quantity("<time>", wanted, { s: 1, m: 60, h: 3600, d: 86_400 }, leastSeconds, mostSeconds);
}

/** @param suffixes the factor of each, the smallest first */
function quantity(
  placeholder: string,
  wanted: string,
  suffixes: Readonly<Record<string, number>>,
  least: number,
  most: number,
): Unit<number> {
  const accept = (value: unknown, shown: string): number => {
    if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
    throw new UnitError(`must be ${wanted}, not ${shown}`);
  };
  const read = (text: string): number => {
    const [, digits, suffix = ""] = /^(\d+)([a-z]*)$/i.exec(text) ?? [];
    const factor = Object.entries(suffixes).find(
      ([name]) => name.toLowerCase() === suffix.toLowerCase(),
    )?.[1];
    return Number(digits) * (factor ?? Number.NaN);
  };
  return {
    placeholder,
    parse: (text) => accept(read(text), `"${text}"`),
    check: (value) => accept(value, Bun.inspect(value)),
    show: (value) => {
      const units = Object.entries(suffixes);
      const whole = value === 0 ? units[0] : units.findLast(([, factor]) => value % factor === 0);
      const [suffix, factor] = whole ?? ["", 1];
      return `${value / factor}${suffix}`;
    },
  };
}

/** A host name or an IP address. */
export const host: Unit<string> = pattern("<host>", "a host name or an IP address", (text) =>
  /^[A-Za-z0-9._:-]+$/.test(text) ? text : undefined,
);

/** A switch: `true`, `false`, `1` or `0`; its flag may stand alone. */
export const toggle: Unit<boolean> = {
  placeholder: "",
  parse: (text) => {
    if (text === "true" || text === "1") return true;
    if (text === "false" || text === "0") return false;
    throw new UnitError(`must be true, false, 1 or 0, not "${text}"`);
  },
  check: (value) => {
    if (typeof value === "boolean") return value;
    throw new UnitError(`must be true or false, not ${Bun.inspect(value)}`);
  },
  show: String,
};

/** A path; empty for none. */
export const path: Unit<string> = pattern("<path>", "a path", (text) => text);

/** A name without spaces; empty for none. */
export const name: Unit<string> = pattern("<name>", "a name without spaces", (text) =>
  /^[\x21-\x7e]*$/.test(text) ? text : undefined,
);

/** Names without spaces. */
export const names: Unit<readonly string[]> = list("<names>", "names without spaces", (text) =>
  /^[\x21-\x7e]+$/.test(text),
);

/** Origins of pages, such as `https://example.org`; `*` for any. */
export const origins: Unit<readonly string[]> = list(
  "<origins>",
  "origins such as https://example.org, or *",
  (text) => {
    if (text === "*" || text === "null") return true;
    return !text.includes("*") && URL.parse(text)?.origin === text;
  },
  { meant: originOf },
);

/** The origin that a host, or the address of a page, was probably meant to be. */
function originOf(text: string): string | undefined {
  if (text.includes("*")) return undefined;
  const scheme = /^(localhost|127\.|\[::1\])/.test(text) ? "http" : "https";
  return URL.parse(text.includes("://") ? text : `${scheme}://${text}`)?.origin;
}

/** Topic names, or prefixes of them that end in `*`. */
export const topicPatterns: Unit<readonly string[]> = list(
  "<patterns>",
  "topic names, or prefixes that end in *",
  isTopicPattern,
);

/** How much is kept of topics, each as `<pattern> <messages> <age>`. @example "log/* 1000 2h" */
export const retainedTopics: Unit<readonly string[]> = list(
  "<history>",
  'texts such as "log/* 1000 2h": a topic or a prefix that ends in *, a number up to 1000000, a time up to 365d',
  (text) => readRetainedTopics(text) !== undefined,
);

/** @returns undefined for a text that is not what the unit `retainedTopics` takes */
export function readRetainedTopics(text: string): RetainedTopics | undefined {
  const [pattern = "", messages = "", age = "", ...more] = text.split(" ");
  if (!isTopicPattern(pattern) || more.length > 0) return undefined;
  try {
    return {
      pattern,
      messages: count(0, 1_000_000).parse(messages),
      ageSeconds: duration(1, 365 * 86_400).parse(age),
    };
  } catch (error) {
    if (error instanceof UnitError) return undefined;
    throw error;
  }
}

/** Networks in the notation of RFC 4632, such as `10.0.0.0/8`, or single addresses. */
export const networks: Unit<readonly string[]> = list(
  "<networks>",
  "networks such as 10.0.0.0/8 or addresses",
  (text) => Network.parse(text) !== undefined,
);

/** A Redis server; empty for none. It may hold a password, so only its address is shown. */
export const redisUrl: Unit<string> = {
  placeholder: "<url>",
  parse: checkRedisUrl,
  check: checkRedisUrl,
  show: showRedisUrl,
  isSecret: true,
};

function checkRedisUrl(value: unknown): string {
  if (value === "") return value;
  const address = parseRedisUrl(typeof value === "string" ? value : "");
  if (typeof address === "string") throw new UnitError(address);
  return String(value);
}

/** Begins the names of keys. Without a colon, so that no prefix with what follows it is another prefix. */
export const keyPrefix: Unit<string> = pattern(
  "<prefix>",
  "1 to 64 letters, digits, dots, hyphens and underscores",
  (text) => (/^[A-Za-z0-9._-]{1,64}$/.test(text) ? text : undefined),
);

/** URLs that can be fetched. */
export const urls: Unit<readonly string[]> = list(
  "<urls>",
  "http or https URLs",
  (text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol),
);

/** Secrets of at least so many bytes. They are not written anywhere, not even in an error. */
export function secrets(leastBytes: number): Unit<readonly string[]> {
  return list(
    "<secret>",
    `secrets of at least ${leastBytes} bytes each`,
    (text) => Buffer.byteLength(text) >= leastBytes,
    {
      secret: true,
    },
  );
}

/** Secrets that clients send in a header, which cannot carry a space or a control character. */
export function presentedSecrets(leastBytes: number): Unit<readonly string[]> {
  return list(
    "<secret>",
    `secrets of at least ${leastBytes} bytes each, of visible ASCII characters, as a header carries them`,
    (text) => text.length >= leastBytes && /^[\x21-\x7e]+$/.test(text),
    { secret: true },
  );
}

/** Public keys in PEM (SPKI). Not shown in errors, because the text may be the private key. */
export const publicKeys: Unit<readonly string[]> = list(
  "<pem>",
  'public keys in PEM ("-----BEGIN PUBLIC KEY-----")',
  (text) => /^-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----$/.test(text),
  { secret: true },
);

interface ListTraits {
  readonly secret?: boolean;
  /** What an item that is not accepted was probably meant to be. */
  readonly meant?: (item: string) => string | undefined;
}

function list(
  placeholder: string,
  wanted: string,
  accepts: (item: string) => boolean,
  { secret = false, meant }: ListTraits = {},
): Unit<readonly string[]> {
  const check = (value: unknown): readonly string[] => {
    const items: readonly unknown[] = Array.isArray(value) ? value : [value];
    const wrong = items.find((item) => typeof item !== "string" || !accepts(item));
    if (Array.isArray(value) && wrong === undefined && !items.includes(undefined)) return value;
    const nearest = typeof wrong === "string" ? meant?.(wrong) : undefined;
    const advice = nearest === undefined ? "" : `; the nearest is ${nearest}`;
    throw new UnitError(`must be ${wanted}${secret ? "" : `, not ${Bun.inspect(wrong ?? value)}${advice}`}`);
  };
  return {
    placeholder,
    parse: (text) => check(text === "" ? [] : text.split(",").map((item) => item.trim())),
    check,
    show: (value) => (secret ? "" : value.join(",")),
    ...(secret && { isSecret: true }),
  };
}

/** One of the allowed words. */
export function oneOf<const Word extends string>(...allowed: readonly Word[]): Unit<Word> {
  return pattern(`<${allowed.join("|")}>`, `one of ${allowed.join(", ")}`, (text) =>
    allowed.find((word) => word === text),
  );
}

function pattern<Text extends string>(
  placeholder: string,
  wanted: string,
  accept: (text: string) => Text | undefined,
): Unit<Text> {
  const check = (value: unknown): Text => {
    const accepted = typeof value === "string" ? accept(value) : undefined;
    if (accepted !== undefined) return accepted;
    throw new UnitError(`must be ${wanted}, not ${Bun.inspect(value)}`);
  };
  return { placeholder, parse: check, check, show: (value) => value };
}
