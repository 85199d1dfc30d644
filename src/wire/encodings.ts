/** The forms of a message on the wire. Each message is encoded once per form, however many subscribers it has. */
import { formatId, type Message } from "../topic/message.ts";
import { cloudEvent } from "./cloud-events.ts";
import { eventLines, messageEvent, serverSentEvent } from "./server-sent-events.ts";

/** The WebSocket subprotocols of /topics: the published bytes, and the CloudEvents 1.0 WebSocket binding in JSON. */
export const subprotocols = { raw: "longwire.raw", cloudEvents: "cloudevents.json" } as const;

const utf8 = new TextEncoder();

/** The raw form is missing here: it is the published data itself. */
const encoders = {
  cloudEvents: cloudEvent,
  serverSentEvents: (message: Message): Uint8Array<ArrayBuffer> => utf8.encode(messageEvent(message)),
  /** For a stream of one topic, whose cursor is the message's id. */
  serverSentCloudEvents: (message: Message, topicsPath: string): Uint8Array<ArrayBuffer> =>
    utf8.encode(serverSentEvent(cloudEvent(message, topicsPath), formatId(message))),
  /** For a stream of several topics, which ends the event with its own cursor and the blank line. */
  serverSentCloudEventsWithoutId: (message: Message, topicsPath: string): Uint8Array<ArrayBuffer> =>
    utf8.encode(eventLines(cloudEvent(message, topicsPath))),
} as const;

export type Encoding = keyof typeof encoders;
export type Encoded<Name extends Encoding> = ReturnType<(typeof encoders)[Name]>;

/** Memory for encodings of recent messages. Enough that a crowd that comes back at once is served from it. */
const encodingsBytesMax = 8 * 1024 * 1024;

/** Memory for the objects around one encoding, roughly. */
const encodingOverheadBytes = 300;

/** Recently used encodings, for live delivery and for replays of the recent past. The oldest are dropped first. */
export class Encodings {
  readonly #kept = new Map<Message, Map<Encoding, string | Uint8Array<ArrayBuffer>>>();
  readonly #topicsPath: string;
  #bytes = 0;

  /** @param topicsPath the path before a topic's name, such as `/topics/` */
  constructor(topicsPath: string) {
    this.#topicsPath = topicsPath;
  }

  get<Name extends Encoding>(encoding: Name, message: Message): Encoded<Name> {
    let forms = this.#kept.get(message);
    const kept = forms?.get(encoding);
    if (kept !== undefined) return kept as Encoded<Name>;
    const encoded = encoders[encoding](message, this.#topicsPath) as Encoded<Name>;
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
