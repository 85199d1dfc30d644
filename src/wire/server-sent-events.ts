/** Server-sent events (WHATWG HTML section 9.2). */
import { formatId, type Message } from "../topic/message.ts";

/**
 * One event. `id:` is its last line, so that a reader that takes the id over line by line has the data by then.
 * @param id undefined leaves the reader's last id as it is
 * @param event undefined means `message`
 */
export function serverSentEvent(data: string, id?: string, event?: string): string {
  return `${eventLines(data, event)}${id === undefined ? "" : `id: ${id}\n`}\n`;
}

/** The last event of a stream that the server ends. @param code a close code (close-code.ts) */
export const closeEvent = (code: number, reason: string): string =>
  serverSentEvent(JSON.stringify({ code, reason }), undefined, "longwire.close");

/**
 * An event without its `id:` and without the blank line that ends it. Each line of `data` becomes a field of its own,
 * because a field ends at the end of its line.
 */
export function eventLines(data: string, event?: string): string {
  const lines = lineEnd.test(data) ? data.replaceAll(lineEnds, "\ndata: ") : data;
  return `${event === undefined ? "" : `event: ${event}\n`}data: ${lines}\n`;
}

const lineEnd = /[\r\n]/;
const lineEnds = /\r\n|\r|\n/g;

/**
 * A message in the plain format: text as it is, under its type if the publisher gave one; bytes as base64 under the event
 * name `longwire.binary`.
 */
export function messageEvent(message: Message): string {
  const id = formatId(message);
  const type = message.attributes?.type;
  if (typeof message.data === "string")
    return serverSentEvent(message.data, id, type === undefined ? undefined : String(type));
  return serverSentEvent(message.data.toBase64(), id, "longwire.binary");
}
