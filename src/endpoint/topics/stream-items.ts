/** From the body of a stream to the messages in it. */
import { type Attributes, messageType, readAttributes } from "../../topic/attributes.ts";
import { type Draft, DraftError, essenceOf } from "../../topic/draft.ts";
import { EventStreamReader, type ReadEvent } from "../../wire/event-stream-reader.ts";
import { JsonLinesReader } from "../../wire/json-lines-reader.ts";

/** Reads the messages of one body. */
export interface StreamItems {
  /** Memory of the item that has not arrived whole. */
  readonly heldBytes: number;
  /** @throws {DraftError} @throws {ItemSizeError} */
  read(bytes: Uint8Array): Iterable<Draft>;
  /** Called at the proper end of the body. */
  finish(): Iterable<Draft>;
}

export type StreamKind = "events" | "lines";

/** JSON values on lines have many names. None of them is registered, and each has its users. */
const streamKinds: ReadonlyMap<string, StreamKind> = new Map([
  ["text/event-stream", "events"],
  ["application/x-ndjson", "lines"],
  ["application/ndjson", "lines"],
  ["application/jsonl", "lines"],
  ["application/jsonlines", "lines"],
  ["application/json-lines", "lines"],
]);

/** @returns undefined for the type of a body that is one message */
export const streamKindOf = (contentType: string | undefined): StreamKind | undefined =>
  contentType === undefined ? undefined : streamKinds.get(essenceOf(contentType));

/** @param attributes of each message, beside its type */
export const streamItemsOf = (
  kind: StreamKind,
  attributes: Attributes | undefined,
  messageBytesMax: number,
): StreamItems =>
  kind === "events"
    ? itemsOf(new EventStreamReader(messageBytesMax), eventDrafts(attributes))
    : itemsOf(new JsonLinesReader(messageBytesMax), lineDraft(attributes));

interface ItemReader<Item> {
  readonly heldBytes: number;
  read(bytes: Uint8Array): Iterable<Item>;
  finish(): Iterable<Item>;
}

/** @param draftOf undefined for an item that is no message */
function itemsOf<Item>(reader: ItemReader<Item>, draftOf: (item: Item) => Draft | undefined): StreamItems {
  function* drafts(items: Iterable<Item>): Iterable<Draft> {
    for (const item of items) {
      const draft = draftOf(item);
      if (draft) yield draft;
    }
  }
  return {
    get heldBytes() {
      return reader.heldBytes;
    },
    read: (bytes) => drafts(reader.read(bytes)),
    finish: () => drafts(reader.finish()),
  };
}

function lineDraft(attributes: Attributes | undefined): (line: string) => Draft {
  return (data) => ({ data, contentType: "application/json", ...(attributes && { attributes }) });
}

/** The types of a stream are few. More are not kept, so that invented types take no memory. */
const keptTypesMax = 64;

/**
 * What a Longwire sends can be piped into another: its own events are skipped, and its messages are taken as they were
 * published.
 */
function eventDrafts(attributes: Attributes | undefined): (event: ReadEvent) => Draft | undefined {
  const kept = new Map<string, Attributes | undefined>();
  const attributesFor = (type: string): Attributes | undefined => {
    if (type === "" || type === "message" || type === messageType) return attributes;
    if (kept.has(type)) return kept.get(type);
    if (kept.size === keptTypesMax) kept.clear();
    const own = readAttributes({ ...attributes, type });
    kept.set(type, own);
    return own;
  };
  return ({ type, data }) => {
    if (type === "longwire.binary") return binaryDraft(data, attributes);
    if (type.startsWith("longwire.") && type !== messageType) return undefined;
    const own = attributesFor(type);
    return { data, contentType: "text/plain", ...(own && { attributes: own }) };
  };
}

function binaryDraft(base64: string, attributes: Attributes | undefined): Draft {
  try {
    const data = Uint8Array.fromBase64(base64);
    return { data, contentType: "application/octet-stream", ...(attributes && { attributes }) };
  } catch {
    throw new DraftError("The data of an event longwire.binary is not base64.");
  }
}
