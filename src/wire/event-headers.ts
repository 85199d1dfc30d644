/** The attributes of a message in HTTP headers: the binary mode of the CloudEvents HTTP protocol binding. */
import { type Attributes, messageType, readAttributes } from "../topic/attributes.ts";
import { DraftError } from "../topic/draft.ts";
import { formatId, type Message } from "../topic/message.ts";
import { sourceOf } from "./cloud-events.ts";

/** W3C Trace Context: a header that is not of this form is to be ignored, not refused. */
const traceParent = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/;

/** Characters of `tracestate` that must be passed on (W3C Trace Context section 3.3.1.5). A longer one is dropped. */
const traceStateLengthMax = 512;

/**
 * Reads `ce-<name>` headers, percent-decoded, and the headers `traceparent` and `tracestate`. `ce-traceparent` outranks
 * `traceparent`, which a proxy may have changed.
 * @param topics those of the request: `ce-topic` must be one of them, if it is there
 * @returns undefined for none
 * @throws {DraftError} for a header that a message cannot have as an attribute
 */
export function attributesOfHeaders(headers: Headers, topics: readonly string[]): Attributes | undefined {
  const trace = traceOf(headers);
  let sent: Record<string, string> | undefined;
  const all = headers.toJSON();
  for (const name in all) {
    if (!name.startsWith("ce-")) continue;
    // Without a prototype, or a header named ce-__proto__ would set it and be lost.
    sent ??= Object.create(null) as Record<string, string>;
    sent[name.slice(3)] = decode(name, all[name] ?? "");
  }
  if (sent) requireEnvelope(sent, topics);
  return sent || trace ? readAttributes({ ...trace, ...sent }) : undefined;
}

/**
 * The rules for attributes that are not kept.
 * @throws {DraftError}
 */
export function requireEnvelope(
  { specversion, topic }: Readonly<Record<string, unknown>>,
  topics: readonly string[],
): void {
  if (specversion !== undefined && specversion !== "1.0")
    throw new DraftError('The specversion of an event must be "1.0".');
  if (topic !== undefined && topic !== null && (topics.length !== 1 || topic !== topics[0]))
    throw new DraftError(`The topic of an event must be that of the URL, not ${JSON.stringify(topic)}.`);
}

/** The trace of a request, for messages that carry none themselves. */
function traceOf(headers: Headers): Record<string, string> | undefined {
  const parent = headers.get("traceparent");
  if (parent === null || !traceParent.test(parent)) return undefined;
  const state = headers.get("tracestate");
  const isKept = state !== null && state.length <= traceStateLengthMax && !/\p{Cc}/u.test(state);
  return isKept ? { traceparent: parent, tracestate: state } : { traceparent: parent };
}

/**
 * A message as the headers of one event in binary mode: its attributes as `ce-<name>`.
 * @param prefix as for `sourceOf`
 */
export function headersOfMessage(message: Message, prefix: string): Record<string, string> {
  const { topic, time, attributes } = message;
  const headers: Record<string, string> = {
    "ce-specversion": "1.0",
    "ce-type": messageType,
    "ce-source": encode(sourceOf(topic, prefix)),
    "ce-id": formatId(message),
    "ce-time": new Date(time).toISOString(),
  };
  for (const name in attributes) headers[`ce-${name}`] = encode(String(attributes[name]));
  return headers;
}

/** HTTP protocol binding, section 3.1.3.2: what is not visible ASCII, the quote and the percent sign are percent-encoded. */
const encode = (text: string): string => text.replaceAll(/[^\x21\x23\x24\x26-\x7e]+/g, encodeURIComponent);

/** A byte order mark is part of a key: without it two keys would be one. */
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** HTTP protocol binding, section 3.1.3.2. Bun gives each byte of a header as one character. */
function decode(name: string, value: string): string {
  const [, quoted] = /^"((?:[^"\\]|\\.)*)"$/.exec(value) ?? [];
  const text = quoted === undefined ? value : quoted.replaceAll(/\\(.)/g, "$1");
  if (/^[\x20-\x24\x26-\x7e]*$/.test(text)) return text;
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const [, digits] = /^%([0-9a-f]{2})/i.exec(text.slice(at, at + 3)) ?? [];
    bytes.push(digits === undefined ? text.charCodeAt(at) : Number.parseInt(digits, 16));
    if (digits !== undefined) at += 2;
  }
  try {
    return utf8.decode(Uint8Array.from(bytes));
  } catch {
    throw new DraftError(`The header ${name} is not percent-encoded UTF-8.`);
  }
}
