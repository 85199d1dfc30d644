/** Reads the frames of a topic's line: events of the subprotocol cloudevents.json, see docs/protocol.md. */
import type { Data } from "./log.ts";

export type TopicEvent =
  /** The first event. The messages that follow come after `id`. */
  | { readonly type: "open"; readonly id: string; readonly resumed: boolean }
  | {
      readonly type: "message";
      readonly id: string;
      readonly time: Date;
      readonly contentType: string;
      readonly data: Data;
    }
  /** Messages after `requested` are lost. The topic continues after `from`. */
  | { readonly type: "gap"; readonly requested: string; readonly from: string }
  /** The topic has ended: nothing follows. */
  | { readonly type: "end"; readonly id: string }
  | { readonly type: "pong" }
  /** An event of a newer server, to be ignored. */
  | { readonly type: "other" };

/** A browser cannot send ping frames. */
export const pingEvent = JSON.stringify({ specversion: "1.0", type: "longwire.ping" });

/** @throws for a frame that is not such an event */
export function readTopicEvent(frame: Data): TopicEvent {
  if (typeof frame !== "string") throw new Error("a frame of cloudevents.json is text");
  const event = asObject(JSON.parse(frame, keepNumber));
  switch (event.type) {
    case "longwire.open": {
      const { topics } = asObject(event.data);
      const { id, resumed } = asObject(Array.isArray(topics) ? topics[0] : undefined);
      return { type: "open", id: String(id), resumed: resumed === true };
    }
    case "longwire.gap": {
      const { requested, from } = asObject(event.data);
      return { type: "gap", requested: String(requested), from: String(from) };
    }
    case "longwire.end":
      return { type: "end", id: String(event.id) };
    case "longwire.pong":
      return { type: "pong" };
    default:
      // A message has any type that its publisher gave it, and alone has a topic.
      return event.topic === undefined ? { type: "other" } : messageOf(event);
  }
}

const messageOf = (event: Record<string, unknown>): TopicEvent => ({
  type: "message",
  id: String(event.id),
  time: new Date(String(event.time)),
  contentType: String(event.datacontenttype),
  data: dataOf(event),
});

function dataOf({ data, data_base64: base64, datacontenttype: contentType }: Record<string, unknown>): Data {
  if (typeof base64 === "string") return Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0)).buffer;
  return isJson(String(contentType)) ? JSON.stringify(data) : String(data);
}

function isJson(contentType: string): boolean {
  return /^[^;]*[/+]json\s*(;|$)/i.test(contentType);
}

function asObject(value: unknown): Record<string, unknown> {
  if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  throw new Error("the event is not one of docs/protocol.md");
}

/** Not yet in TypeScript's types: ECMAScript proposal "JSON.parse source text access". */
const { rawJSON } = JSON as JSON & { rawJSON?(text: string): object };

/** Shows 1.0 and 12345678901234567890 as published, not as a double prints them. */
function keepNumber(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === "number" && context?.source !== undefined && rawJSON
    ? rawJSON(context.source)
    : value;
}
