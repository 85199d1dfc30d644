/** SHA-256 digests of publications and of their idempotency keys: what a repetition is compared by. */
import { repeatedAttributes } from "./attributes.ts";
import type { Once, Publication } from "./broker.ts";
import type { Draft } from "./draft.ts";

/** Covers everything that a repetition has to repeat: the drafts and whether the topic was to end. */
export function publicationDigest({ drafts, end = false }: Publication): string {
  const hasher = new Bun.CryptoHasher("sha256").update(JSON.stringify([end, drafts.length > 0]));
  for (const draft of drafts) updateWith(hasher, draft);
  return hasher.digest("base64");
}

/** The digest of a stream with one more item. @param before the digest of the items before it; empty for the first */
export function streamDigest(before: string, item: Draft): string {
  const hasher = new Bun.CryptoHasher("sha256").update(before);
  updateWith(hasher, item);
  return hasher.digest("base64");
}

function updateWith(hasher: Bun.CryptoHasher, { data, contentType, attributes = {} }: Draft): void {
  hasher.update(JSON.stringify([typeof data, contentType, repeatedAttributes(attributes)])).update(data);
}

/** Has one length for every key, and different for every topic, publisher and key: JSON separates them. */
export const fingerprintOf = (topic: string, { publisher, key }: Once): string =>
  new Bun.CryptoHasher("sha256").update(JSON.stringify([topic, publisher, key])).digest("base64");
