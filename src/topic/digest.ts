/** SHA-256 digests of publications and of their idempotency keys: what a repetition is compared by. */
import { repeatedAttributes } from "./attributes.ts";
import type { Once, Publication } from "./broker.ts";
import type { Draft } from "./draft.ts";

/** Covers everything that a repetition has to repeat: the drafts and whether the topic was to end. */
export const publicationDigest = ({ drafts, end = false }: Publication): string =>
  sha256([JSON.stringify([end, drafts.length > 0]), ...drafts.flatMap(partsOf)]);

/** The digest of a stream with one more item. @param before the digest of the items before it; empty for the first */
export const streamDigest = (before: string, item: Draft): string => sha256([before, ...partsOf(item)]);

const partsOf = ({ data, contentType, attributes = {} }: Draft): Draft["data"][] => [
  JSON.stringify([typeof data, contentType, repeatedAttributes(attributes)]),
  data,
];

/** Has one length for every key, and different for every topic, publisher and key: JSON separates them. */
export const fingerprintOf = (topic: string, { publisher, key }: Once): string =>
  sha256([JSON.stringify([topic, publisher, key])]);

/** Of all parts in one call: a CryptoHasher, which takes them one by one, costs twice as much for short ones. */
function sha256(parts: readonly Draft["data"][]): string {
  const isText = parts.every((part) => typeof part === "string");
  const whole = isText ? parts.join("") : Buffer.concat(parts.map((part) => Buffer.from(part as string)));
  return Bun.SHA256.hash(whole, "base64");
}
