/** Reads the frames that clients send on /topics. */
import { type Draft, DraftError } from "../topic/draft.ts";
import { removalOf, removedType } from "../topic/key.ts";
import { faultOfTopicName } from "../topic/message.ts";
import { draftOfEvent, type JsonEvent, parseEvent } from "./json-event.ts";

/** A heartbeat, or a message for a topic, or its end. */
export type ClientFrame = "pong" | PublishFrame;

/** What a frame publishes: a message, or the end of the topic. */
export interface PublishFrame {
  readonly topic: string;
  /** Undefined for the end of the topic. */
  readonly draft: Draft | undefined;
}

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
 * Reads a frame of the form `cloudevents.json`: one CloudEvents 1.0 event. The type `longwire.end` ends the topic, and
 * `longwire.removed` takes the key `partitionkey` away.
 * @param onlyTopic the connection's topic, if it has only one; an event may then leave its topic out
 * @throws {DraftError} for a frame that is not such an event, or whose data its type does not allow
 */
export function readEventFrame(
  frame: string | Buffer<ArrayBuffer>,
  onlyTopic: string | undefined,
): ClientFrame {
  if (typeof frame !== "string")
    throw new DraftError("A frame of cloudevents.json must be text: send bytes as data_base64.");
  const event = parseEvent(frame);
  const { type } = event;
  if (type === "longwire.ping") return "pong";
  const topic = event.topic ?? onlyTopic;
  if (topic === undefined)
    throw new DraftError("An event must have a topic, because this connection has several.");
  if (typeof topic !== "string") throw new DraftError("The topic of the event is not a string.");
  const fault = faultOfTopicName(topic);
  if (fault !== undefined) throw new DraftError(fault);
  if (type === "longwire.end") return { topic, draft: undefined };
  return { topic, draft: type === removedType ? removalOfEvent(event) : draftOfEvent(frame, event) };
}

function removalOfEvent({ partitionkey }: JsonEvent): Draft {
  if (typeof partitionkey !== "string") throw new DraftError("A removal must have a partitionkey, a string.");
  return removalOf(partitionkey);
}
