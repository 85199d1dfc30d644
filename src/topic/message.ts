/** A topic's name, a message, its position, and where a client begins to read. */
import type { Draft } from "./draft.ts";

/** A place in a topic's past. The first message has an offset above 0; 0 is the place before it. */
export interface Position {
  /** Names the past that `offset` belongs to. Compared only for equality. Never `0`, so that the id `0-0` is always a gap. */
  readonly epoch: string;
  readonly offset: number;
}

/** A published message. Immutable, so that logs, caches and subscribers share one. */
export interface Message extends Draft, Position {
  readonly topic: string;
  /** Milliseconds since 1970. Never decreases within a topic. */
  readonly time: number;
  /** The offset of the topic's message before this one, where that is not `offset - 1`. */
  readonly previous?: number;
}

/** The offset that a message follows. A reader that has seen it lacks nothing before the message. */
export const previousOffset = ({ previous, offset }: Message): number => previous ?? offset - 1;

/** Where a reader begins: after a message, with everything retained, or with the messages since a time. */
export type Since =
  | { readonly kind: "position"; readonly position: Position }
  | { readonly kind: "all" }
  /** Milliseconds since 1970. */
  | { readonly kind: "time"; readonly time: number }
  /** A last id that no server has made. It is always a gap. */
  | { readonly kind: "unknown" };

export const topicNameLengthMax = 200;

const topicPart = /^[A-Za-z0-9._~:-]+$/;

/** @returns what is wrong with the name, or nothing */
export function faultOfTopicName(name: string): string | undefined {
  if (name.length === 0) return "A topic's name must not be empty.";
  if (name.length > topicNameLengthMax) return `A topic's name has at most ${topicNameLengthMax} characters.`;
  for (const part of name.split("/")) {
    if (part === "")
      return `The topic "${name}" has an empty part: "/" stands between parts, as in chat/room/42.`;
    if (part === "." || part === "..")
      return `The topic "${name}" has a part "${part}", which a URL cannot carry.`;
    if (!topicPart.test(part))
      return `The topic "${name}" may contain only A-Z a-z 0-9 . _ ~ : - and "/" between parts.`;
  }
  return undefined;
}

/** A topic's name, or a prefix of names that ends in `*`; `*` alone is every topic. */
export function isTopicPattern(text: string): boolean {
  const prefix = text.endsWith("*") ? text.slice(0, -1) : text;
  return (
    prefix.length <= topicNameLengthMax &&
    (prefix === "" ? text === "*" : /^[A-Za-z0-9._~:/-]+$/.test(prefix))
  );
}

/** @param patterns each a topic's name, or a prefix that ends in `*` */
export function matchesTopic(patterns: readonly string[], topic: string): boolean {
  return patterns.some((pattern) =>
    pattern.endsWith("*") ? topic.startsWith(pattern.slice(0, -1)) : topic === pattern,
  );
}

/** `<epoch>-<offset>` */
export const formatId = ({ epoch, offset }: Position): string => `${epoch}-${offset}`;

export function parseId(text: string): Position | undefined {
  const [, epoch, digits] = /^([0-9a-z]{1,64})-(0|[1-9][0-9]{0,15})$/.exec(text) ?? [];
  if (epoch === undefined) return undefined;
  const offset = Number(digits);
  return Number.isSafeInteger(offset) ? { epoch, offset } : undefined;
}

const secondsPer: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Reads one value of `since`: an id, `all`, or a span such as `90s` that ends `now` (milliseconds). */
export function parseSince(text: string, now: number): Since | undefined {
  if (text === "all") return { kind: "all" };
  const position = parseId(text);
  if (position) return { kind: "position", position };
  const [, digits, unit] = /^([0-9]{1,9})([smhd])$/.exec(text) ?? [];
  if (unit === undefined) return undefined;
  return { kind: "time", time: now - Number(digits) * (secondsPer[unit] ?? 0) * 1000 };
}

/** Memory of the objects around a message. Measured: 193 bytes. */
const messageBytes = 200;

/** A message's share of a limit on history: its data in UTF-8, its content type, and the objects around them. */
export function retainedBytes({ data, contentType }: Draft): number {
  const dataBytes = typeof data === "string" ? Buffer.byteLength(data) : data.length;
  return dataBytes + contentType.length + messageBytes;
}
