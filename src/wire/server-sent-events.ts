/** Server-sent events (WHATWG HTML section 9.2). */
import { formatId, type Message } from "../topic/message.ts";

/** One event. Each line of `data` becomes a field of its own, because a field ends at the end of its line. */
export function serverSentEvent(
  data: string,
  fields: { readonly event?: string; readonly id?: string } = {},
): string {
  const event = fields.event === undefined ? "" : `event: ${fields.event}\n`;
  const id = fields.id === undefined ? "" : `id: ${fields.id}\n`;
  return `${event}${id}data: ${lineEnd.test(data) ? data.replaceAll(lineEnds, "\ndata: ") : data}\n\n`;
}

const lineEnd = /[\r\n]/;
const lineEnds = /\r\n|\r|\n/g;

/** A message in the plain form: text as it is, bytes as base64 under the event name `binary`. */
export function messageEvent(message: Message): string {
  const id = formatId(message);
  if (typeof message.data === "string") return serverSentEvent(message.data, { id });
  return serverSentEvent(message.data.toBase64(), { event: "binary", id });
}
