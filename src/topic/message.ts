/** A topic's name, a message, its position, and where a client begins to read. */
import { type Attributes, bytesOfAttributes } from "./attributes.ts";
import type { Draft } from "./draft.ts";

/** A place in a topic's past. The first message has an offset above 0; 0 is the place before it. */
export interface Position {
  /** Names the past that `offset` belongs to. Compared only for equality. Never `0`, so that the id `0-0` is always a gap. */
  readonly epoch: string;
  readonly offset: number;
}

/** Where a reader is. */
export interface Place extends Position {
  /**
   * Set inside a snapshot of a keyed topic: the offset that the topic had when the snapshot began. A reader there has the
   * values up to `offset`, and needs no removal that came before `base`.
   */
  readonly base?: number | undefined;
}

/** A published message. Immutable, so that logs, caches and subscribers share one. */
export interface Message extends Draft, Position {
  readonly topic: string;
  /** Milliseconds since 1970. Never decreases within a topic. */
  readonly time: number;
  /** The offset of the topic's message before this one, where that is not `offset - 1`. */
  readonly previous?: number;
  /** Tells it from an `End`. */
  readonly isEnd?: undefined;
}

/**
 * The end of a topic: the last entry of its log, with an id of its own. It lives as long as the topic's position: it counts
 * neither in retention nor in `last`.
 */
export interface End extends Position {
  readonly topic: string;
  /** Milliseconds since 1970. At least the `time` of the topic's last message. */
  readonly time: number;
  /** The offset of the topic's last message, where that is not `offset - 1`. */
  readonly previous?: number;
  readonly isEnd: true;
}

/** A topic's position, and its end where it has ended. The position of an ended topic is that of its end. */
export interface TopicPosition extends Position {
  readonly end?: End;
}

/** The offset that a message or an end follows. A reader that has seen it lacks nothing before that entry. */
export const previousOffset = ({ previous, offset }: Message | End): number => previous ?? offset - 1;

/** Where a reader begins: after a message, with everything retained, or with the messages since a time. */
export type Since =
  | { readonly kind: "position"; readonly position: Place }
  /** Everything retained. With `isWhole` it is a gap unless that begins with the topic's first message; engines ignore it. */
  | { readonly kind: "all"; readonly isWhole?: true }
  /** The last `count` retained messages, the end not counted. Never a gap. */
  | { readonly kind: "last"; readonly count: number }
  /** Milliseconds since 1970. */
  | { readonly kind: "time"; readonly time: number }
  /** A last id that no server has made. It is always a gap. */
  | { readonly kind: "unknown" };

/** Characters, and bytes in UTF-8: a Chinese name has three bytes a character, and a URL nine. */
const topicNameLengthMax = 200;
const topicNameBytesMax = 600;

/** Letters, marks and digits of every script: a percent-encoded URL carries them. */
const topicPart = /^[\p{L}\p{M}\p{N}._~:-]+$/u;

const ascii = /^[\0-\x7f]*$/;

/** Parts of ASCII, none of which begins with a dot: most names, in which nothing else can be wrong but the length. */
const plainName = /^[A-Za-z0-9_~:-][A-Za-z0-9._~:-]*(?:\/[A-Za-z0-9_~:-][A-Za-z0-9._~:-]*)*$/;

/** @returns what is wrong with the name, or nothing */
export function faultOfTopicName(name: string): string | undefined {
  if (name.length <= topicNameLengthMax && plainName.test(name)) return undefined;
  if (name.length === 0) return "A topic's name must not be empty.";
  if (isTooLong(name))
    return `A topic's name has at most ${topicNameLengthMax} characters and ${topicNameBytesMax} bytes of UTF-8.`;
  for (const part of name.split("/")) {
    if (part === "")
      return `The topic "${name}" has an empty part: "/" stands between parts, as in chat/room/42.`;
    if (part === "." || part === "..")
      return `The topic "${name}" has a part "${part}", which a URL cannot carry.`;
    if (!topicPart.test(part))
      return `The topic "${name}" may contain only letters, marks and digits, . _ ~ : - and "/" between parts.`;
  }
  if (!ascii.test(name) && /\p{Default_Ignorable_Code_Point}/u.test(name))
    return `The topic "${name}" has a character that cannot be seen (Default_Ignorable_Code_Point of Unicode).`;
  // Otherwise two names would look the same.
  if (!ascii.test(name) && name.normalize("NFC") !== name)
    return `The topic "${name}" is not in the Unicode normalization form NFC.`;
  return undefined;
}

function isTooLong(name: string): boolean {
  if (ascii.test(name)) return name.length > topicNameLengthMax;
  return [...name].length > topicNameLengthMax || Buffer.byteLength(name) > topicNameBytesMax;
}

/** A topic's name, or a prefix of names that ends in `*`; `*` alone is every topic. */
export function isTopicPattern(text: string): boolean {
  const prefix = text.endsWith("*") ? text.slice(0, -1) : text;
  return (
    !isTooLong(prefix) &&
    prefix.normalize("NFC") === prefix &&
    !/\p{Default_Ignorable_Code_Point}/u.test(prefix) &&
    (prefix === "" ? text === "*" : /^[\p{L}\p{M}\p{N}._~:/-]+$/u.test(prefix))
  );
}

/** @param patterns each a topic's name, or a prefix that ends in `*` */
export function matchesTopic(patterns: readonly string[], topic: string): boolean {
  for (const pattern of patterns) {
    if (pattern.endsWith("*") ? topic.startsWith(pattern.slice(0, -1)) : topic === pattern) return true;
  }
  return false;
}

/** `<epoch>-<offset>` */
export const formatId = ({ epoch, offset }: Position): string => `${epoch}-${offset}`;

export function parseId(text: string): Position | undefined {
  const [, epoch, digits] = /^([0-9a-z]{1,64})-(0|[1-9][0-9]{0,15})$/.exec(text) ?? [];
  if (epoch === undefined) return undefined;
  const offset = Number(digits);
  return Number.isSafeInteger(offset) ? { epoch, offset } : undefined;
}

/** `<epoch>-<offset>`, and inside a snapshot `<epoch>-<offset>.<base>` */
export const formatPlace = (place: Place, base = place.base): string =>
  base === undefined ? formatId(place) : `${formatId(place)}.${base}`;

/** Reads what `formatPlace` writes. */
export function parsePlace(text: string): Place | undefined {
  const dot = text.indexOf(".");
  if (dot < 0) return parseId(text);
  const position = parseId(text.slice(0, dot));
  const base = position && parseId(`${position.epoch}-${text.slice(dot + 1)}`);
  return base && { ...position, base: base.offset };
}

const secondsPer: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };

/**
 * A time as RFC 3339 writes it. A space before the zone is a "+" that was decoded in a query.
 * @example "2026-11-24T17:30:00Z", "2026-11-24T17:30:00.5+01:00"
 */
const rfc3339 = /^(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?)(?:([Zz])|([+ -])(\d{2}:\d{2}))$/;

/**
 * Reads one value of `since`: an id or a place, `all`, `first`, `last:N`, a time, or a span such as `90s` that ends `now`.
 * @param now milliseconds since 1970
 */
export function parseSince(text: string, now: number): Since | undefined {
  if (text === "all") return { kind: "all" };
  if (text === "first") return { kind: "all", isWhole: true };
  const position = parsePlace(text);
  if (position) return { kind: "position", position };
  const [, count] = /^last:([1-9][0-9]{0,8})$/.exec(text) ?? [];
  if (count !== undefined) return { kind: "last", count: Number(count) };
  const time = parseTime(text);
  if (time !== undefined) return { kind: "time", time };
  const [, digits, unit] = /^([0-9]{1,9})([smhd])$/.exec(text) ?? [];
  if (unit === undefined) return undefined;
  return { kind: "time", time: now - Number(digits) * (secondsPer[unit] ?? 0) * 1000 };
}

function parseTime(text: string): number | undefined {
  const [, date, clock, , sign, zone] = rfc3339.exec(text) ?? [];
  if (date === undefined) return undefined;
  const time = Date.parse(
    `${date}T${clock}${zone === undefined ? "Z" : `${sign === "-" ? "-" : "+"}${zone}`}`,
  );
  return Number.isNaN(time) ? undefined : time;
}

/** Memory of the objects around a message, and around each of its attributes. Measured: 134 and 48 bytes, and room for gaps. */
export const messageBytes = 150;
const attributeBytes = 64;

/** A message's share of a limit on history: data, content type and attributes as they are held, and the objects around them. */
export function retainedBytes({ data, contentType, attributes }: Draft): number {
  return messageBytes + dataBytes(data) + contentType.length + attributesBytes(attributes);
}

export const dataBytes = (data: Draft["data"]): number =>
  typeof data === "string" ? textBytes(data) : data.length;

function attributesBytes(attributes: Attributes | undefined): number {
  if (!attributes) return 0;
  let bytes = bytesOfAttributes(attributes);
  for (const _ in attributes) bytes += attributeBytes;
  return bytes;
}

/** JavaScriptCore takes a byte for each character of ASCII, and two for each UTF-16 unit of a text with any other. */
export function textBytes(text: string): number {
  return Buffer.byteLength(text) === text.length ? text.length : 2 * text.length;
}
