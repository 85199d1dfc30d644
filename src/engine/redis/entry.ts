/**
 * A message as Redis keeps and announces it, three lines and the data:
 *
 *     <epoch> <offset> <time> <received> <previous> <received of previous>      written by append.lua
 *     t<content type>    text; `b` for bytes; `T` and `B` with attributes; `R` as `T`, for the removal of a key of a keyed topic;
 *                        `e` for the end of the topic
 *     <attributes as JSON>    only with `T`, `B` and `R`
 *     <data>
 *
 * A node must be able to read what an older version has written. A kind that it does not know is an error, and never skipped.
 */
import { BrokerUnavailable } from "../../topic/broker.ts";
import type { Draft } from "../../topic/draft.ts";
import { fedDraft } from "../../topic/feed.ts";
import { isRemoval } from "../../topic/key.ts";
import type { End, Message } from "../../topic/message.ts";

/** The publisher's part of an entry of a keyed topic. */
export function encodeKeyedDraft(draft: Draft): string | Buffer {
  if (!isRemoval(draft)) return encodeDraft(draft);
  return `R${draft.contentType}\n${JSON.stringify(draft.attributes)}\n`;
}

/** The part of an entry that comes from the publisher. Text stays text, which the client sends without a copy. */
export function encodeDraft({ data, contentType, attributes }: Draft): string | Buffer {
  const isText = typeof data === "string";
  const kind = isText ? "t" : "b";
  const head = attributes
    ? `${kind.toUpperCase()}${contentType}\n${JSON.stringify(attributes)}\n`
    : `${kind}${contentType}\n`;
  return isText ? head + data : Buffer.concat([Buffer.from(head), data]);
}

/**
 * The parts of entries of a topic's feeds, as append.lua takes them: without the id that each has in its topic, which is known
 * there alone, and of a message without its data, which is sent once.
 */
export function encodeFed(drafts: readonly Draft[], end: boolean, topic: string): (string | Buffer)[] {
  const fed = [...drafts, ...(end ? [undefined] : [])];
  return fed.map((draft) => {
    const given = fedDraft(draft, topic);
    if (given.data !== draft?.data) return encodeDraft(given);
    return encodeDraft({ ...given, data: typeof given.data === "string" ? "" : new Uint8Array() });
  });
}

const lineFeed = 10;
const space = 32;
const zero = 48;
const nine = 57;

/**
 * @param epoch the topic's, where it is known; an entry from before a takeover has an older one
 * @throws {BrokerUnavailable} for an entry that this version cannot read: a later node can
 */
export function decodeEntry(topic: string, entry: Buffer, epoch?: string): Message | End {
  const epochEnd = entry.indexOf(space);
  const headEnd = entry.indexOf(lineFeed);
  const typeEnd = entry.indexOf(lineFeed, headEnd + 1);
  const kind = String.fromCharCode(entry[headEnd + 1] ?? 0);
  const [offset = 0, time = 0, , previous] = numbersOf(entry, epochEnd + 1, headEnd);
  if (typeEnd === -1 || epochEnd < 1 || previous === undefined || !"tbTBRe".includes(kind))
    throw new BrokerUnavailable(`an entry of ${topic} in Redis has a format that this version does not know`);
  const place = { topic, epoch: epoch ?? entry.toString("latin1", 0, epochEnd), offset, time };
  const following = previous === offset - 1 ? place : { ...place, previous };
  if (kind === "e") return { ...following, isEnd: true };
  const contentType = entry.toString("utf8", headEnd + 2, typeEnd);
  const hasAttributes = kind === "T" || kind === "B" || kind === "R";
  const attributesEnd = hasAttributes ? entry.indexOf(lineFeed, typeEnd + 1) : typeEnd;
  const isText = kind !== "b" && kind !== "B";
  // Copied: an entry is a view into what the socket read.
  const data = isText
    ? entry.toString("utf8", attributesEnd + 1)
    : new Uint8Array(entry.subarray(attributesEnd + 1));
  if (!hasAttributes) return { ...following, data, contentType };
  const attributes = JSON.parse(entry.toString("utf8", typeEnd + 1, attributesEnd));
  return { ...following, data, contentType, attributes };
}

/**
 * Numbers divided by spaces; none where something else is among them. Read digit by digit: a text for each took half the time
 * that it takes to read an entry.
 */
function numbersOf(bytes: Buffer, start: number, end: number): readonly number[] {
  const numbers: number[] = [];
  let number = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? space;
    if (byte === space) {
      numbers.push(number);
      number = 0;
    } else if (byte < zero || byte > nine) return [];
    else number = number * 10 + (byte - zero); // In this order, all whole numbers below 2 ** 53 are exact.
  }
  numbers.push(number);
  return numbers;
}
