/** The units of settings: how text becomes a value, and which values are allowed. */
import type { Feed } from "../topic/feed.ts";
import { faultOfInfo, jsonOfInfo } from "../topic/member-info.ts";
import { faultOfTopicName, isTopicPattern } from "../topic/message.ts";
import type { RetainedTopics } from "../topic/retention.ts";
import { Network } from "./networks.ts";
import { type PublicKey, readPublicKey } from "./public-key.ts";
import { parseRedisUrl, type RedisServer, showRedisServer } from "./redis-url.ts";
import { UnitError } from "./unit-error.ts";

/**
 * @template Value what the server uses
 * @template Given what a program gives for it, such as the text of a value that is parsed
 */
export interface Unit<Value, Given = Value> {
  /** Placeholder for a value in `--help`, such as `<size>`. */
  readonly placeholder: string;
  /** Reads text. @throws {UnitError} */
  parse(text: string): Value;
  /** Reads a value of a program, which may be of any type. @throws {UnitError} */
  accept(given: Given): Value;
  /** Writes a value as text that `parse` reads; of a secret only what everyone may see. */
  show(value: Value): string;
  /** What the log shows of a value. */
  logged(value: Value): unknown;
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
  const require = (value: unknown, shown: string): number => {
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
    parse: (text) => require(read(text), `"${text}"`),
    accept: (value) => require(value, Bun.inspect(value)),
    show: (value) => {
      const units = Object.entries(suffixes);
      const whole = value === 0 ? units[0] : units.findLast(([, factor]) => value % factor === 0);
      const [suffix, factor] = whole ?? ["", 1];
      return `${value / factor}${suffix}`;
    },
    logged: itself,
  };
}

/** A host name or an IP address. */
export const host: Unit<string> = pattern(
  "<host>",
  "a host name or an IP address",
  matching(/^[A-Za-z0-9._:-]+$/),
);

/** A switch: `true`, `false`, `1` or `0`; its flag may stand alone. */
export const toggle: Unit<boolean> = {
  placeholder: "",
  parse: (text) => {
    if (text === "true" || text === "1") return true;
    if (text === "false" || text === "0") return false;
    throw new UnitError(`must be true, false, 1 or 0, not "${text}"`);
  },
  accept: (value) => {
    if (typeof value === "boolean") return value;
    throw new UnitError(`must be true or false, not ${Bun.inspect(value)}`);
  },
  show: String,
  logged: itself,
};

/** What others may see of a member: `true`, or an object in JSON; its flag may stand alone. Undefined for no member. */
export const memberInfo: Unit<true | object | undefined> = {
  placeholder: "[json]",
  parse: (text) => {
    try {
      return memberInfo.accept(JSON.parse(text));
    } catch (error) {
      throw error instanceof UnitError ? error : noMemberInfo(text);
    }
  },
  accept: (value: unknown) => {
    if (value === undefined || value === false) return undefined;
    const info = jsonOfInfo(value);
    if (info === undefined) throw noMemberInfo(value);
    const fault = faultOfInfo(info);
    if (fault) throw new UnitError(`is too large. ${fault.replace(/\.$/, "")}`);
    return value as true | object;
  },
  show: (value) => jsonOfInfo(value) ?? "",
  logged: itself,
};

const noMemberInfo = (given: unknown): UnitError =>
  new UnitError(`must be an object in JSON such as {"name":"Ann"}, or nothing, not ${Bun.inspect(given)}`);

/** A path; empty for none. */
export const path: Unit<string> = pattern("<path>", "a path", (text) => text);

/** A name without spaces; empty for none. */
export const name: Unit<string> = pattern("<name>", "a name without spaces", matching(/^[\x21-\x7e]*$/));

/** Names without spaces. */
export const names = list("<names>", "names without spaces", matching(/^[\x21-\x7e]+$/));

/** Origins of pages, such as `https://example.org`; `*` for any. */
export const origins = list(
  "<origins>",
  "origins such as https://example.org, or *",
  (text) => {
    if (text === "*" || text === "null") return text;
    return !text.includes("*") && URL.parse(text)?.origin === text ? text : undefined;
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
export const topicPatterns = list("<patterns>", "topic names, or prefixes that end in *", (text) =>
  isTopicPattern(text) ? text : undefined,
);

const keptMessages = count(0, 1_000_000);
const keptTime = duration(1, 365 * 86_400);

/** How much is kept of topics, each as `<pattern> <messages> <age>`. @example "log/* 1000 2h" */
export const retainedTopics = list<RetainedTopics>(
  "<history>",
  'texts such as "log/* 1000 2h": a topic or a prefix that ends in *, a number up to 1000000, a time up to 365d',
  (text) => {
    const [pattern = "", messages = "", age = "", ...more] = text.split(" ");
    if (!isTopicPattern(pattern) || more.length > 0) return undefined;
    try {
      return { pattern, messages: keptMessages.parse(messages), ageSeconds: keptTime.parse(age) };
    } catch (error) {
      if (error instanceof UnitError) return undefined;
      throw error;
    }
  },
  {
    show: ({ pattern, messages, ageSeconds }) => `${pattern} ${messages} ${keptTime.show(ageSeconds)}`,
  },
);

/** What goes into one more topic, each as `<pattern> <topic>`. @example "chat/* all-chats" */
export const feeds = list<Feed>(
  "<feed>",
  'texts such as "chat/* all-chats": a topic or a prefix that ends in *, and the topic of the feed',
  (text) => {
    const [pattern = "", topic = "", ...more] = text.split(" ");
    const isRight = isTopicPattern(pattern) && faultOfTopicName(topic) === undefined && more.length === 0;
    return isRight ? { pattern, topic } : undefined;
  },
  { show: ({ pattern, topic }) => `${pattern} ${topic}` },
);

/** Networks in the notation of RFC 4632, such as `10.0.0.0/8`, or single addresses. */
export const networks = list("<networks>", "networks such as 10.0.0.0/8 or addresses", Network.parse);

/** A Redis server; empty for none. It may hold a password, so only its address is shown. */
export const redisUrl: Unit<RedisServer | undefined, string> = {
  placeholder: "<url>",
  parse: parseRedisUrl,
  accept: parseRedisUrl,
  show: showRedisServer,
  logged: showRedisServer,
};

/** Begins the names of keys. Without a colon, so that no prefix with what follows it is another prefix. */
export const keyPrefix: Unit<string> = pattern(
  "<prefix>",
  "1 to 64 letters, digits, dots, hyphens and underscores",
  matching(/^[A-Za-z0-9._-]{1,64}$/),
);

/** URLs that can be fetched. */
export const urls = list("<urls>", "http or https URLs", (text) => {
  const url = URL.parse(text);
  return url && /^https?:$/.test(url.protocol) ? url : undefined;
});

/** Secrets of at least so many bytes. They are not written anywhere, not even in an error. */
export function secrets(leastBytes: number): Unit<readonly string[]> {
  return list(
    "<secret>",
    `secrets of at least ${leastBytes} bytes each`,
    (text) => (Buffer.byteLength(text) >= leastBytes ? text : undefined),
    { isSecret: true },
  );
}

/** Secrets that clients send in a header, which cannot carry a space or a control character. */
export function presentedSecrets(leastBytes: number): Unit<readonly string[]> {
  return list(
    "<secret>",
    `secrets of at least ${leastBytes} bytes each, of visible ASCII characters, as a header carries them`,
    (text) => (text.length >= leastBytes && /^[\x21-\x7e]+$/.test(text) ? text : undefined),
    { isSecret: true },
  );
}

/** Public keys in PEM (SPKI). Not shown in errors, because the text may be the private key. */
export const publicKeys = list<PublicKey>(
  "<pem>",
  'public keys in PEM ("-----BEGIN PUBLIC KEY-----")',
  (text) =>
    /^-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----$/.test(text) ? readPublicKey(text) : undefined,
  { isSecret: true },
);

interface ListTraits<Item> {
  /** Not written anywhere, not even in an error. */
  readonly isSecret?: true;
  /** What an item that is not accepted was probably meant to be. */
  readonly meant?: (item: string) => string | undefined;
  readonly show?: (item: Item) => string;
}

/** @param read gives undefined for a text that is no item */
function list<Item = string>(
  placeholder: string,
  wanted: string,
  read: (text: string) => Item | undefined,
  { isSecret, meant, show = String }: ListTraits<Item> = {},
): Unit<readonly Item[], readonly string[]> {
  const refusal = (wrong: unknown): UnitError => {
    const nearest = typeof wrong === "string" ? meant?.(wrong) : undefined;
    const advice = nearest === undefined ? "" : `; the nearest is ${nearest}`;
    return new UnitError(`must be ${wanted}${isSecret ? "" : `, not ${Bun.inspect(wrong)}${advice}`}`);
  };
  const accept = (given: unknown): readonly Item[] => {
    if (!Array.isArray(given)) throw refusal(given);
    return given.map((item: unknown) => {
      const value = typeof item === "string" ? read(item) : undefined;
      if (value === undefined) throw refusal(item);
      return value;
    });
  };
  return {
    placeholder,
    parse: (text) => accept(text === "" ? [] : text.split(",").map((item) => item.trim())),
    accept,
    show: (value) => (isSecret ? "" : value.map(show).join(",")),
    logged: (value) => (isSecret ? `${value.length} set` : value.map(show)),
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
  const require = (value: unknown): Text => {
    const accepted = typeof value === "string" ? accept(value) : undefined;
    if (accepted !== undefined) return accepted;
    throw new UnitError(`must be ${wanted}, not ${Bun.inspect(value)}`);
  };
  return { placeholder, parse: require, accept: require, show: itself, logged: itself };
}

function matching(form: RegExp): (text: string) => string | undefined {
  return (text) => (form.test(text) ? text : undefined);
}

function itself<Value>(value: Value): Value {
  return value;
}
