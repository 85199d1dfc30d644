/** What is published: all of it follows from a number, which its data begins with, so that what is read can be compared. */
import type { Once, Publication } from "../../src/topic/broker.ts";
import type { Draft } from "../../src/topic/draft.ts";
import { removalOf } from "../../src/topic/key.ts";
import { Random } from "../support/random.ts";

export interface Numbered {
  readonly topic: string;
  readonly draft: Draft;
  readonly publication: Publication;
}

export const topicsMax = 25;

export const endedPrefix = "ended/";

export const keyedTopic = "keyed/one";

/** Values that the keyed topic may have, and removals that it keeps. It has twice as many keys. */
export const keysMax = 6;

/** @param number 0 or more */
export function publicationOf(number: number): Numbered {
  const topic = topicOf(number);
  const random = new Random(number + 1);
  const once = random.chance(0.5) && { key: `key ${number}`, publisher: "writer" };
  const end = topic.startsWith(endedPrefix);
  const draft = draftOf(number, random);
  return { topic, draft, publication: { drafts: [draft], ...(end && { end }), ...(once && { once }) } };
}

/** Some topics have a few messages, and some have many. A publication of its own topic ends it. */
export function topicOf(number: number): string {
  const random = new Random(number);
  if (random.chance(0.03)) return `${endedPrefix}${number}`;
  return `t/${Math.floor(topicsMax * random.fraction() ** 2)}`;
}

/** Mostly small, some over many pages. */
function draftOf(number: number, random: Random): Draft {
  const length = random.chance(0.9) ? random.below(400) : random.chance(0.9) ? random.below(6000) : 30_000;
  const filling = random.pick(["x", "ü", "好", "\n"]).repeat(length);
  const attributes = { type: "token", sequence: number, final: random.chance(0.5) };
  const more = random.chance(0.3) ? { attributes } : {};
  switch (random.below(3)) {
    case 0:
      return { data: `${number} ${filling}`, contentType: "text/plain", ...more };
    case 1:
      return { data: JSON.stringify({ number, filling }), contentType: "application/json", ...more };
    default:
      return { data: new Uint8Array(Buffer.from(`${number} ${filling}`)), contentType: "image/png", ...more };
  }
}

export interface KeyedPublication {
  readonly key: string;
  /** Undefined for a removal. */
  readonly value: Draft | undefined;
  readonly publication: Publication;
}

/** What is published to the keyed topic: a value of one of its keys, or that the key is removed. */
export function keyedPublicationOf(number: number): KeyedPublication {
  const random = new Random(number + 2);
  const key = `key ${random.below(2 * keysMax)}`;
  const draft = draftOf(number, random);
  const value = random.chance(0.5)
    ? { ...draft, attributes: { ...draft.attributes, partitionkey: key } }
    : undefined;
  const once = { key: `keyed ${number}`, publisher: "writer" };
  return { key, value, publication: { drafts: [value ?? removalOf(key)], once } };
}

/** The number of a publication, by its data. */
export const numberOf = ({ data }: Pick<Draft, "data">): number =>
  Number(
    /\d+/.exec(
      Buffer.from(typeof data === "string" ? data.slice(0, 50) : data.subarray(0, 50)).toString(),
    )?.[0],
  );

export const streamOf = (number: number): string => `streams/${number}`;

export const streamKey = (number: number): Once => ({ key: `stream ${number}`, publisher: "writer" });

/** @param item counted from 1 */
export const itemOf = (number: number, item: number): Draft => ({
  data: `${number} item ${item}`,
  contentType: "text/plain",
});
