/** The forms of a message on the wire. Each message is encoded once per form, however many subscribers it has. */
import { crowdReturnSeconds } from "../topic/hub.ts";
import { formatId, type Message, retainedBytes, textBytes } from "../topic/message.ts";
import { cloudEvent } from "./cloud-events.ts";
import { type GzipPiece, gzipPiece } from "./gzip.ts";
import { eventLines, messageEvent, serverSentEvent } from "./server-sent-events.ts";

/** The WebSocket subprotocols of /topics: the published bytes, and the CloudEvents 1.0 WebSocket binding in JSON. */
export const subprotocols = { raw: "longwire.raw", cloudEvents: "cloudevents.json" } as const;

const utf8 = new TextEncoder();

type Encoder = (message: Message, prefix: string) => Uint8Array<ArrayBuffer>;

const serverSentEvents: Encoder = (message) => utf8.encode(messageEvent(message));
/** For a stream of one topic, whose cursor is the message's id. */
const serverSentCloudEvents: Encoder = (message, prefix) =>
  utf8.encode(serverSentEvent(cloudEvent(message, prefix), formatId(message)));
/** For a stream of several topics, which ends the event with its own cursor and the blank line. */
const serverSentCloudEventsWithoutId: Encoder = (message, prefix) =>
  utf8.encode(eventLines(cloudEvent(message, prefix)));

const compressed =
  (encoder: Encoder) =>
  (message: Message, prefix: string): GzipPiece =>
    gzipPiece(encoder(message, prefix));

/** The raw form is missing here: it is the published data itself. */
const encoders = {
  cloudEvents: cloudEvent,
  serverSentEvents,
  serverSentCloudEvents,
  serverSentCloudEventsWithoutId,
  cloudEventsGzip: compressed((message, prefix) => utf8.encode(cloudEvent(message, prefix))),
  serverSentEventsGzip: compressed(serverSentEvents),
  serverSentCloudEventsGzip: compressed(serverSentCloudEvents),
  serverSentCloudEventsWithoutIdGzip: compressed(serverSentCloudEventsWithoutId),
} as const;

export type Encoding = keyof typeof encoders;
export type Encoded<Name extends Encoding> = ReturnType<(typeof encoders)[Name]>;

/**
 * Memory for encodings of recent messages, with the messages. Enough that a crowd that comes back at once is served from it.
 */
const encodingsBytesMax = 8 * 1024 * 1024;

/** Memory for the objects around one encoding, and around all of a message. Measured: 70 to 210, and 240 bytes. */
const encodingOverheadBytes = 160;
const messageOverheadBytes = 240;

/** Encodings are dropped in steps of so many milliseconds, so that a timer serves many. */
const sweepMilliseconds = 5000;

type Forms = { [Name in Encoding]?: Encoded<Name> };

/** The encodings of one message. */
interface Kept {
  readonly forms: Forms;
  /** When the first was made, by `performance.now()`. */
  readonly madeMilliseconds: number;
  bytes: number;
}

/**
 * Recently used encodings, for live delivery and for replays of the recent past. They are dropped after the time in which a
 * crowd returns, and the oldest before that if they are many.
 */
export class Encodings implements Disposable {
  /** The oldest first. */
  readonly #kept = new Map<Message, Kept>();
  readonly #prefix: string;
  #bytes = 0;
  #sweeper: Timer | undefined;

  /** @param prefix before all paths of the server, such as `/realtime` */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** Memory of the encodings, and of their messages. Those may be in the history, too. */
  get bytes(): number {
    return this.#bytes;
  }

  get<Name extends Encoding>(encoding: Name, message: Message): Encoded<Name> {
    let kept = this.#kept.get(message);
    const known = kept?.forms[encoding];
    if (known !== undefined) return known as Encoded<Name>;
    const encoded = encoders[encoding](message, this.#prefix) as Encoded<Name>;
    if (!kept) {
      const bytes = messageOverheadBytes + retainedBytes(message);
      kept = { forms: {}, madeMilliseconds: performance.now(), bytes };
      this.#kept.set(message, kept);
      this.#bytes += bytes;
      this.#sweeper ??= setInterval(() => this.#dropOld(), sweepMilliseconds).unref();
    }
    (kept.forms as Record<Encoding, Encoded<Encoding>>)[encoding] = encoded;
    const bytes = encodingOverheadBytes + (typeof encoded === "string" ? textBytes(encoded) : encoded.length);
    kept.bytes += bytes;
    this.#bytes += bytes;
    if (this.#bytes > encodingsBytesMax) this.#dropWhile(() => this.#bytes > encodingsBytesMax / 2);
    return encoded;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#sweeper);
    this.#kept.clear();
    this.#bytes = 0;
  }

  #dropOld(): void {
    const before = performance.now() - crowdReturnSeconds * 1000;
    this.#dropWhile(({ madeMilliseconds }) => madeMilliseconds <= before);
    if (this.#kept.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #dropWhile(isTooMuch: (oldest: Kept) => boolean): void {
    for (const [message, kept] of this.#kept) {
      if (!isTooMuch(kept)) return;
      this.#kept.delete(message);
      this.#bytes -= kept.bytes;
    }
  }
}
