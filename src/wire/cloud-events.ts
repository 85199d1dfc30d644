/** The words on the wire: CloudEvents, server-sent events, close codes. docs/protocol.md tells them to whoever writes a client. */
import { isJson } from "../topic/draft.ts";
import { formatId, type Message, type Position } from "../topic/message.ts";
import type { Gap } from "../topic/subscription.ts";

/** Why a connection was closed, in codes that tell a client whether to come back (docs/protocol.md). */
export const closeCode = {
  /** The server stops. */
  goingAway: 1001,
  tooBig: 1009,
  /** Broke a rule; the reason names it. */
  policyViolation: 1008,
  serverFault: 1011,
  /** This node is draining: come back at once, elsewhere. */
  serviceRestart: 1012,
  /** The broker is away, or a limit is passed that time mends. */
  tryAgainLater: 1013,
  /** The token is missing, bad or expired. */
  unauthorized: 4401,
  /** The token does not allow this. */
  forbidden: 4403,
  /** What was asked for cannot be continued, and a raw socket has no other way to be told. */
  cannotResume: 4410,
} as const;

/** The subprotocols of /topics: bytes as they were published, and the CloudEvents 1.0 WebSocket binding in JSON. */
export const subprotocols = { raw: "longwire.raw", cloudEvents: "cloudevents.json" } as const;

/** Where one topic of a connection begins. */
export interface OpenedTopic {
  readonly topic: string;
  readonly from: Position;
  readonly resumed: boolean;
}

/** A message as one CloudEvents 1.0 JSON event. JSON data is spliced in as it was sent. */
export function cloudEvent(message: Message): string {
  const { topic, contentType, data, time } = message;
  return (
    `{"specversion":"1.0","type":"longwire.message","source":"/topics/${topic}","id":"${formatId(message)}",` +
    `"topic":"${topic}","time":"${new Date(time).toISOString()}","datacontenttype":${JSON.stringify(contentType)},` +
    `${cloudEventData(contentType, data)}}`
  );
}

function cloudEventData(contentType: string, data: Message["data"]): string {
  if (typeof data !== "string") return `"data_base64":"${base64(data)}"`;
  return `"data":${isJson(contentType) ? data : JSON.stringify(data)}`;
}

/** What the server says of a connection itself, as CloudEvents from the source `/connections/<random>`. */
export class ControlEvents {
  readonly #source = `/connections/${crypto.randomUUID()}`;
  #count = 0;

  open(topics: readonly OpenedTopic[]): string {
    return this.#event("longwire.open", { topics: topics.map(openedTopic) });
  }

  gap(gap: ToldGap): string {
    return this.#event("longwire.gap", gapData(gap));
  }

  pong(): string {
    return this.#event("longwire.pong");
  }

  close(code: number, reason: string): string {
    return this.#event("longwire.close", { code, reason });
  }

  #event(type: string, data?: unknown): string {
    const id = String(++this.#count);
    const time = new Date().toISOString();
    const attributes = { specversion: "1.0", type, source: this.#source, id, time };
    return JSON.stringify(
      data === undefined ? attributes : { ...attributes, datacontenttype: "application/json", data },
    );
  }
}

export const openedTopic = ({ topic, from, resumed }: OpenedTopic): object => ({
  topic,
  id: formatId(from),
  resumed,
});

/** A gap; nothing to continue after where the topic is not there any more. */
export type ToldGap = Omit<Gap, "from"> & { readonly from: Position | undefined };

export const gapData = ({ topic, requested, from }: ToldGap): object => ({
  topic,
  requested,
  from: from ? formatId(from) : null,
});

/** A server-sent event; each line of `data` becomes a field of its own, as the format has no other way. */
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
  return serverSentEvent(base64(message.data), { event: "binary", id });
}

const base64 = (bytes: Uint8Array<ArrayBuffer>): string => bytes.toBase64();

/** The forms that are encoded; the raw one is the published data itself. */
const encoders = {
  cloudEvents: cloudEvent,
  serverSentEvents: (message: Message): Uint8Array<ArrayBuffer> => utf8.encode(messageEvent(message)),
  /** For a stream of one topic, whose cursor is the message's id. */
  serverSentCloudEvents: (message: Message): Uint8Array<ArrayBuffer> =>
    utf8.encode(serverSentEvent(cloudEvent(message), { id: formatId(message) })),
  /** For a stream of several topics, which sets its own cursor before it. */
  serverSentCloudEventsWithoutId: (message: Message): Uint8Array<ArrayBuffer> =>
    utf8.encode(serverSentEvent(cloudEvent(message))),
} as const;

const utf8 = new TextEncoder();

export type Encoding = keyof typeof encoders;
export type Encoded<Name extends Encoding> = ReturnType<(typeof encoders)[Name]>;

/** What encodings of recent messages may take. Enough that a crowd which comes back at once is served from it. */
const encodingsBytesMax = 8 * 1024 * 1024;

/** About what the objects around an encoding take. */
const encodingOverheadBytes = 300;

/** Each message encoded once a form, however many it is sent to, live or in replays of the recent past. */
export class Encodings {
  readonly #kept = new Map<Message, Map<Encoding, string | Uint8Array<ArrayBuffer>>>();
  #bytes = 0;

  get<Name extends Encoding>(encoding: Name, message: Message): Encoded<Name> {
    let forms = this.#kept.get(message);
    const kept = forms?.get(encoding);
    if (kept !== undefined) return kept as Encoded<Name>;
    const encoded = encoders[encoding](message) as Encoded<Name>;
    if (!forms) {
      forms = new Map();
      this.#kept.set(message, forms);
    }
    forms.set(encoding, encoded);
    this.#bytes += encoded.length + encodingOverheadBytes;
    if (this.#bytes > encodingsBytesMax) this.#dropOldest();
    return encoded;
  }

  #dropOldest(): void {
    for (const [message, forms] of this.#kept) {
      for (const { length } of forms.values()) this.#bytes -= length + encodingOverheadBytes;
      this.#kept.delete(message);
      if (this.#bytes <= encodingsBytesMax / 2) return;
    }
  }
}
