/** Keys of keyed topics: the attribute `partitionkey` of CloudEvents, and the removal of a key. */

import type { Draft } from "./draft.ts";
import { DraftError } from "./draft-error.ts";

/** The type of the message that takes a key away. Only the server makes it. */
export const removedType = "longwire.removed";

/** A key is an attribute of a message, so it has a share of their 1,024 bytes. */
const keyBytesMax = 255;

/** @returns what is wrong with the key, or nothing */
export function faultOfKey(key: string): string | undefined {
  const bytes = Buffer.byteLength(key);
  if (bytes === 0 || bytes > keyBytesMax)
    return `A key has 1 to ${keyBytesMax} bytes of UTF-8; this one has ${bytes}.`;
  if (/\p{Cc}/u.test(key)) return "A key has no control characters.";
  // A query decodes bytes that are no UTF-8 to it, and two keys would become one.
  if (key.includes("\u{FFFD}")) return "The key has U+FFFD, which stands for bytes that are not UTF-8.";
  if (!key.isWellFormed()) return "The key has half a surrogate pair, which UTF-8 cannot carry.";
  return undefined;
}

/** The key of a message of a keyed topic. */
export function keyOf({ attributes }: Pick<Draft, "attributes">): string {
  const key = attributes?.partitionkey;
  if (typeof key !== "string") throw new Error("a message of a keyed topic has no partitionkey");
  return key;
}

/** Whether a message takes a key away. */
export const isRemoval = ({ attributes }: Pick<Draft, "attributes">): boolean =>
  attributes?.type === removedType;

/** The draft that takes a key away. It is valid once `keyed` has looked at it. */
export const removalOf = (key: string): Draft => ({
  data: "",
  contentType: "text/plain",
  attributes: { type: removedType, partitionkey: key },
});

/**
 * The draft with its key, as a keyed topic needs it.
 * @param key named by the request beside the message; undefined where it names none
 * @throws {DraftError} for a key that is missing, cannot be one, or is named in two ways that differ
 */
export function keyed(draft: Draft, key: string | undefined, topic: string): Draft {
  const { attributes } = draft;
  const own = attributes?.partitionkey;
  if (own !== undefined && typeof own !== "string")
    throw new DraftError("The partitionkey must be a string.");
  if (own !== undefined && key !== undefined && own !== key)
    throw new DraftError(
      `The message has the partitionkey "${own}", and the request the key "${key}". Give one of them.`,
    );
  const chosen = key ?? own;
  if (chosen === undefined)
    throw new DraftError(
      `The topic ${topic} is keyed: say which value this is, by ?key=<key> or the attribute partitionkey.`,
    );
  const fault = faultOfKey(chosen);
  if (fault) throw new DraftError(fault);
  return own === chosen ? draft : { ...draft, attributes: { ...attributes, partitionkey: chosen } };
}
