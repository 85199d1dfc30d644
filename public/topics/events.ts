/** Reads messages of a topic as they were published: CloudEvents in JSON, see docs/protocol.md. */
import type { FollowedMessage } from "../../src/client/client.ts";
import type { Data } from "../log/entry.ts";

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

/** @returns the event; the data of a message is its exact text, or its bytes */
export function readEvent(frame: string): FollowedMessage {
  const event: FollowedMessage = JSON.parse(frame);
  return isControl(event) ? event : { ...event, data: dataOf(event, frame) };
}

/** A message has any type that its publisher gave it. */
const isControl = ({ type }: FollowedMessage): boolean =>
  type.startsWith("longwire.") && type !== "longwire.message";

export function attributesOf(event: FollowedMessage): Record<string, string> {
  const others = Object.entries(event).filter(([name]) => !known.includes(name));
  return Object.fromEntries(others.map(([name, value]) => [name, String(value)]));
}

const dataMember = ',"data":';

/** JSON is taken from the frame as it was published: 1.0 and 12345678901234567890 are not what a double prints. */
function dataOf({ data, data_base64: base64 }: FollowedMessage, frame: string): Data {
  if (base64 !== undefined) return Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0)).buffer;
  if (typeof data === "string" && !isJsonFrame(frame)) return data;
  return frame.slice(frame.indexOf(dataMember) + dataMember.length, -1);
}

/** Within a text of JSON a quote is escaped, so these characters are the member itself. */
function isJsonFrame(frame: string): boolean {
  return /^[^;"]*[/+]json\s*[;"]/i.test(frame.slice(frame.indexOf('"datacontenttype":"') + 19));
}
