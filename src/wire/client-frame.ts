/** Reads the frames that clients send on /topics. */
import { type Draft, DraftError, draftOf, isJson, isMediaType, isText } from "../topic/draft.ts";
import { faultOfTopicName } from "../topic/message.ts";
import { rawMember } from "./json-member.ts";

/** A heartbeat, or a message for a topic. */
export type ClientFrame = "pong" | { readonly topic: string; readonly draft: Draft };

/**
 * Reads a frame of the raw form: the published bytes themselves.
 * @param topic the connection's only topic
 */
export function readRawFrame(frame: string | Buffer<ArrayBuffer>, topic: string | undefined): ClientFrame {
  if (topic === undefined) throw new Error("a raw connection has no topic");
  // A heartbeat for browsers, which cannot send ping frames.
  if (frame === "ping") return "pong";
  if (typeof frame === "string") return { topic, draft: { data: frame, contentType: "text/plain" } };
  return { topic, draft: { data: frame, contentType: "application/octet-stream" } };
}

/**
 * Reads a frame of the form `cloudevents.json`: one CloudEvents 1.0 event. The publisher's `id`, `source` and `time` are
 * ignored, because the message gets ours.
 * @param onlyTopic the connection's topic, if it has only one; an event may then leave its topic out
 * @throws {DraftError} for a frame that is not such an event, or whose data its type does not allow
 */
export function readEventFrame(
  frame: string | Buffer<ArrayBuffer>,
  onlyTopic: string | undefined,
): ClientFrame {
  if (typeof frame !== "string")
    throw new DraftError("a frame of cloudevents.json must be text; send bytes as data_base64");
  const event = parse(frame);
  if (event.specversion !== "1.0") throw new DraftError('an event must have "specversion":"1.0"');
  if (event.type === "longwire.ping") return "pong";
  const topic = event.topic ?? onlyTopic;
  if (topic === undefined)
    throw new DraftError("an event must have a topic, because this connection has several");
  if (typeof topic !== "string") throw new DraftError("the event's topic is not a string");
  const fault = faultOfTopicName(topic);
  if (fault !== undefined) throw new DraftError(fault);
  return { topic, draft: draftOfEvent(frame, event) };
}

function parse(frame: string): Record<string, unknown> {
  let event: unknown;
  try {
    event = JSON.parse(frame);
  } catch {
    throw new DraftError("the frame is not JSON");
  }
  if (typeof event !== "object" || event === null || Array.isArray(event))
    throw new DraftError("the frame is not a JSON object");
  return event as Record<string, unknown>;
}

function draftOfEvent(frame: string, event: Record<string, unknown>): Draft {
  const { data } = event;
  // CloudEvents JSON format, section 2.1: an attribute that is null counts as left out. `data` may be null.
  const base64 = event.data_base64 ?? undefined;
  const contentType = event.datacontenttype ?? undefined;
  if (contentType !== undefined && (typeof contentType !== "string" || !isMediaType(contentType))) {
    throw new DraftError("datacontenttype is not a media type");
  }
  if (base64 !== undefined) return draftOf(bytesOf(base64), contentType ?? "application/octet-stream");
  if (data === undefined) throw new DraftError("an event must have data or data_base64");
  // CloudEvents JSON format, section 3.1: without a type, or with a JSON type, data is a JSON value.
  if (contentType === undefined || isJson(contentType)) {
    const json = rawMember(frame, "data");
    if (json === undefined) throw new Error("rawMember does not find the member that JSON.parse found");
    return { data: json, contentType: contentType ?? "application/json" };
  }
  if (typeof data !== "string") throw new DraftError(`data of type ${contentType} must be a string`);
  if (!data.isWellFormed()) throw new DraftError("data has half a surrogate pair, which UTF-8 cannot carry");
  if (!isText(contentType)) throw new DraftError(`data of type ${contentType} must be sent as data_base64`);
  return { data, contentType };
}

function bytesOf(base64: unknown): Uint8Array<ArrayBuffer> {
  if (typeof base64 !== "string") throw new DraftError("data_base64 must be a string");
  try {
    return Uint8Array.fromBase64(base64);
  } catch {
    throw new DraftError("data_base64 is not base64");
  }
}
