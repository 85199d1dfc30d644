/** SHA-256 digests of publications and of their idempotency keys: what a repetition is compared by. */
import { repeatedAttributes } from "./attributes.ts";
import type { Once, Publication } from "./broker.ts";
import type { Draft } from "./draft.ts";

/** Covers everything that a repetition has to repeat: the drafts, whether the topic was to end, and a condition. */
export const publicationDigest = ({ drafts, end = false, condition }: Publication): string =>
  digestOf(JSON.stringify([end, drafts.length > 0]) + (condition ? JSON.stringify(condition) : ""), drafts);

/** The digest of a stream with one more item. @param before the digest of the items before it; empty for the first */
export const streamDigest = (before: string, item: Draft): string => digestOf(before, [item]);

/** Has one length for every key, and different for every topic, publisher and key: JSON separates them. */
export const fingerprintOf = (topic: string, { publisher, key }: Once): string =>
  digestOf(JSON.stringify([topic, publisher, key]), []);

/** Of all parts in one call: a CryptoHasher, which takes them one by one, costs twice as much for short ones. */
function digestOf(head: string, drafts: readonly Draft[]): string {
  let text = head;
  const parts: Uint8Array[] = [];
  for (const { data, contentType, attributes } of drafts) {
    text += JSON.stringify([typeof data, contentType, attributes ? repeatedAttributes(attributes) : []]);
    if (typeof data === "string") {
      text += data;
    } else {
      parts.push(Buffer.from(text), data);
      text = "";
    }
  }
  const whole = parts.length === 0 ? text : Buffer.concat([...parts, Buffer.from(text)]);
  return Bun.SHA256.hash(whole, "base64");
}
