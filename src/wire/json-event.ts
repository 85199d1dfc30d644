/** Reads CloudEvents 1.0 in JSON, as a frame of `cloudevents.json` or as the body of a request. */
import { readAttributes } from "../topic/attributes.ts";
import { type Draft, DraftError, draftOf, isJson, isMediaType, isText } from "../topic/draft.ts";
import { parseJson } from "../topic/json.ts";
import { ownText } from "../topic/owned-text.ts";
import { rawElements, rawMember } from "./json-member.ts";

/** An event as `JSON.parse` reads it. */
export type JsonEvent = Readonly<Record<string, unknown>>;

/**
 * @param text one event
 * @throws {DraftError} for a text that is no event of CloudEvents 1.0
 */
export function parseEvent(text: string): JsonEvent {
  const event = parseJson(text, "The event");
  if (typeof event !== "object" || event === null || Array.isArray(event))
    throw new DraftError("The event is not a JSON object.");
  const { specversion } = event as JsonEvent;
  if (specversion !== "1.0") throw new DraftError('An event must have "specversion":"1.0".');
  return event as JsonEvent;
}

/**
 * @param text a JSON array of events (CloudEvents JSON format, section 4)
 * @returns the text of each
 * @throws {DraftError} for a text that is no JSON array
 */
export function splitBatch(text: string): string[] {
  if (!Array.isArray(parseJson(text, "The batch")))
    throw new DraftError("A batch must be a JSON array of events.");
  return rawElements(text);
}

/**
 * The message in an event. The publisher's `id`, `source` and `time` are ignored, because the message gets ours.
 * @param text of `event`: JSON data is published as it was written there
 * @throws {DraftError} for data that its type does not allow, and for attributes that a message cannot have
 */
export function draftOfEvent(text: string, event: JsonEvent): Draft {
  const { data, data_base64, ...rest } = event;
  const attributes = readAttributes(rest);
  const draft = draftOfData(text, event);
  return attributes ? { ...draft, attributes } : draft;
}

function draftOfData(text: string, event: JsonEvent): Draft {
  const { data } = event;
  // CloudEvents JSON format, section 2.1: an attribute that is null counts as left out. `data` may be null.
  const base64 = event.data_base64 ?? undefined;
  const contentType = event.datacontenttype ?? undefined;
  if (contentType !== undefined && (typeof contentType !== "string" || !isMediaType(contentType))) {
    throw new DraftError("The datacontenttype of the event is not a media type.");
  }
  if (base64 !== undefined) return draftOf(bytesOf(base64), contentType ?? "application/octet-stream");
  if (data === undefined) throw new DraftError("An event must have data or data_base64.");
  // CloudEvents JSON format, section 3.1: without a type, or with a JSON type, data is a JSON value.
  if (contentType === undefined || isJson(contentType)) {
    const json = rawMember(text, "data");
    if (json === undefined) throw new Error("rawMember does not find the member that JSON.parse found");
    return { data: ownText(json), contentType: contentType ?? "application/json" };
  }
  if (typeof data !== "string") throw new DraftError(`Data of type ${contentType} must be a string.`);
  if (!data.isWellFormed())
    throw new DraftError("The data has half a surrogate pair, which UTF-8 cannot carry.");
  if (!isText(contentType)) throw new DraftError(`Data of type ${contentType} must be sent as data_base64.`);
  // JSON.parse gives a copy, but with two bytes for each character where another part of the event needs them.
  return { data: ownText(data), contentType };
}

function bytesOf(base64: unknown): Uint8Array<ArrayBuffer> {
  if (typeof base64 !== "string") throw new DraftError("The data_base64 of the event must be a string.");
  try {
    return Uint8Array.fromBase64(base64);
  } catch {
    throw new DraftError("The data_base64 of the event is not base64.");
  }
}
