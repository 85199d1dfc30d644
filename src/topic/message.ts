/** The domain's words: a topic's name, a message, its position, and where a client that comes back stands. */
import type { Draft } from "./draft.ts";

/** A place in a topic's past. `offset` counts its messages from 1; 0 is before the first. */
export interface Position {
  /** Names the past that `offset` counts in. Compared only for equality: another epoch is another past. */
  readonly epoch: string;
  readonly offset: number;
}

/** What was published. Immutable, so logs, caches and subscribers share one. */
export interface Message extends Draft, Position {
  readonly topic: string;
  /** Milliseconds since 1970; never runs backwards within a topic. */
  readonly time: number;
}

/** Where a subscriber wants to begin: after a message, with everything retained, or with the messages since a time. */
export type Since =
  | { readonly kind: "position"; readonly position: Position }
  | { readonly kind: "all" }
  | { readonly kind: "time"; readonly time: number }
  /** What a client sent as its last id and no server can have made: nothing comes after it. */
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

export const samePosition = (one: Position, other: Position): boolean =>
  one.offset === other.offset && one.epoch === other.epoch;

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

/** What a message weighs against a limit of history: its data, and about what the objects around it take. */
export function retainedBytes({ data }: Draft): number {
  return data.length + 200;
}
