/** What a client's frame on /topics asks for. */

import { type Draft, DraftError, draftOf, isJson, isMediaType, isText } from "../topic/draft.ts";
import { faultOfTopicName } from "../topic/message.ts";
import { rawMember } from "./json-member.ts";

/** A heartbeat, or a message for a topic. */
export type ClientFrame = "pong" | { readonly topic: string; readonly draft: Draft };

/** @param topic the connection's: a raw one has exactly one */
export function readRawFrame(frame: string | Buffer<ArrayBuffer>, topic: string | undefined): ClientFrame {
  if (topic === undefined) throw new Error("a raw connection without its one topic");
  // A heartbeat for browsers, which cannot send ping frames.
  if (frame === "ping") return "pong";
  if (typeof frame === "string") return { topic, draft: { data: frame, contentType: "text/plain" } };
  return { topic, draft: { data: frame, contentType: "application/octet-stream" } };
}

/**
 * Reads a CloudEvents 1.0 JSON event. `id` and `source` are the publisher's own and not asked for: the message gets ours.
 * @param onlyTopic the connection's, where it has one
 * @throws {DraftError}
 */
export function readEventFrame(
  frame: string | Buffer<ArrayBuffer>,
  onlyTopic: string | undefined,
): ClientFrame {
  if (typeof frame !== "string")
    throw new DraftError("on cloudevents.json every frame is text: send bytes as data_base64");
  const event = parse(frame);
  if (event.specversion !== "1.0") throw new DraftError('an event needs "specversion":"1.0"');
  if (event.type === "longwire.ping") return "pong";
  const topic = event.topic ?? onlyTopic;
  if (topic === undefined)
    throw new DraftError("with several topics on a connection an event must name its topic");
  if (typeof topic !== "string" || faultOfTopicName(topic))
    throw new DraftError("the event's topic is not a topic name");
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
    throw new DraftError("the frame is not an event");
  return event as Record<string, unknown>;
}

function draftOfEvent(frame: string, event: Record<string, unknown>): Draft {
  const { data } = event;
  // CloudEvents JSON format, section 2.1: null is the same as left out, except for `data`.
  const base64 = event.data_base64 ?? undefined;
  const contentType = event.datacontenttype ?? undefined;
  if (contentType !== undefined && (typeof contentType !== "string" || !isMediaType(contentType))) {
    throw new DraftError("datacontenttype is not a media type");
  }
  if (base64 !== undefined) return draftOf(bytesOf(base64), contentType ?? "application/octet-stream");
  if (data === undefined) throw new DraftError("an event needs data or data_base64");
  // CloudEvents JSON format, section 3.1: without a type, and with a JSON one, data is a JSON value.
  if (contentType === undefined || isJson(contentType)) {
    const json = rawMember(frame, "data");
    if (json === undefined) throw new Error("the member that JSON.parse found was not found again");
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
