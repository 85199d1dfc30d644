/** Reads events of a topic's connection: CloudEvents in JSON, see docs/protocol.md. */
import type { Data } from "../log/entry.ts";

export interface TopicMessage {
  readonly kind: "message";
  readonly topic: string;
  readonly id: string;
  /** Milliseconds since 1970, by the clock of the server. */
  readonly time: number;
  /** Undefined for a message without a type of its own. */
  readonly type: string | undefined;
  readonly contentType: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly data: Data;
}

export type TopicEvent =
  | TopicMessage
  /** The first event. The messages that follow come after these ids. */
  | {
      readonly kind: "open";
      readonly time: number;
      readonly topics: readonly { topic: string; id: string; resumed: boolean }[];
    }
  /** Messages after `requested` are lost. The topic continues after `from`. */
  | { readonly kind: "gap"; readonly topic: string; readonly requested: string; readonly from: string }
  | { readonly kind: "end"; readonly topic: string; readonly id: string }
  /** Why an event stream ends. */
  | { readonly kind: "close"; readonly code: number; readonly reason: string }
  | { readonly kind: "pong" }
  /** An event of a newer server, to be ignored. */
  | { readonly kind: "other" };

/** A browser cannot send ping frames. */
export const pingEvent = JSON.stringify({ specversion: "1.0", type: "longwire.ping" });

/** Attributes that have a place of their own on the page, or are the same for all messages. */
const known = [
  "specversion",
  "type",
  "source",
  "id",
  "topic",
  "time",
  "datacontenttype",
  "data",
  "data_base64",
];

/** @throws for a frame that is not such an event */
export function readTopicEvent(frame: Data): TopicEvent {
  if (typeof frame !== "string") throw new Error("a frame of cloudevents.json is text");
  const event = asObject(JSON.parse(frame));
  const type = String(event.type);
  // A message has any type that its publisher gave it.
  if (!type.startsWith("longwire.") || type === "longwire.message") return messageOf(event, type, frame);
  return controlEvent(type, event);
}

function messageOf(event: Record<string, unknown>, type: string, frame: string): TopicMessage {
  const attributes: Record<string, string> = {};
  for (const name in event) if (!known.includes(name)) attributes[name] = String(event[name]);
  return {
    kind: "message",
    topic: String(event.topic),
    id: String(event.id),
    time: Date.parse(String(event.time)),
    type: type === "longwire.message" ? undefined : type,
    contentType: String(event.datacontenttype),
    attributes,
    data: dataOf(event, frame),
  };
}

function controlEvent(type: string, event: Record<string, unknown>): TopicEvent {
  switch (type) {
    case "longwire.open": {
      const { topics } = asObject(event.data);
      const opened = (Array.isArray(topics) ? topics : []).map(asObject);
      return {
        kind: "open",
        time: Date.parse(String(event.time)),
        topics: opened.map(({ topic, id, resumed }) => ({
          topic: String(topic),
          id: String(id),
          resumed: resumed === true,
        })),
      };
    }
    case "longwire.gap": {
      const { topic, requested, from } = asObject(event.data);
      return { kind: "gap", topic: String(topic), requested: String(requested), from: String(from) };
    }
    case "longwire.end":
      return { kind: "end", topic: String(event.topic), id: String(event.id) };
    case "longwire.close": {
      const { code, reason } = asObject(event.data);
      return { kind: "close", code: Number(code), reason: String(reason) };
    }
    case "longwire.pong":
      return { kind: "pong" };
    default:
      return { kind: "other" };
  }
}

const dataMember = ',"data":';

/** JSON is taken from the frame as it was published: 1.0 and 12345678901234567890 are not what a double prints. */
function dataOf({ data, data_base64: base64 }: Record<string, unknown>, frame: string): Data {
  if (typeof base64 === "string") return Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0)).buffer;
  if (typeof data === "string" && !isJsonFrame(frame)) return data;
  return frame.slice(frame.indexOf(dataMember) + dataMember.length, -1);
}

/** Within a text of JSON a quote is escaped, so these characters are the member itself. */
function isJsonFrame(frame: string): boolean {
  return /^[^;"]*[/+]json\s*[;"]/i.test(frame.slice(frame.indexOf('"datacontenttype":"') + 19));
}

function asObject(value: unknown): Record<string, unknown> {
  if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  throw new Error("the event is not one of docs/protocol.md");
}
