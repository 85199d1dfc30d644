/** An event stream in the place of a WebSocket, so that a line reconnects it in the same way. */
import { serverSentEvents } from "../frame/event-source.ts";
import { Refusal } from "../frame/requests.ts";
import type { Connection } from "../line/line.ts";
import { readTopicEvent } from "./events.ts";

/** The server sends at least a comment every 25 s. */
const silentSecondsMax = 60;

export class Stream extends EventTarget implements Connection {
  readonly #abort = new AbortController();
  #silence: ReturnType<typeof setTimeout> | undefined;
  /** Reported by the last event of a stream. */
  #ending = { code: 1006, reason: "" };

  constructor(url: URL) {
    super();
    void this.#read(url);
  }

  /** A stream carries nothing to the server. */
  send(): void {}

  close(): void {
    this.#abort.abort();
  }

  async #read(url: URL): Promise<void> {
    let isOpen = false;
    try {
      for await (const events of serverSentEvents(url, this.#abort.signal)) {
        if (!isOpen) this.dispatchEvent(new Event("open"));
        isOpen = true;
        clearTimeout(this.#silence);
        this.#silence = setTimeout(() => this.#abort.abort(), silentSecondsMax * 1000);
        for (const data of events) this.#receive(data);
      }
      if (!isOpen) this.#ending = { code: 1000, reason: "ended" };
    } catch (error) {
      if (error instanceof Refusal) this.#ending = { code: codeOf(error.status), reason: error.detail };
    }
    clearTimeout(this.#silence);
    this.dispatchEvent(new CloseEvent("close", this.#ending));
  }

  #receive(data: string): void {
    const event = readTopicEvent(data);
    if (event.kind === "close") this.#ending = event;
    else this.dispatchEvent(new MessageEvent("message", { data }));
  }
}

/** The close code that a WebSocket has in the place of a status. */
function codeOf(status: number): number {
  return { 400: 1008, 401: 4401, 403: 4403, 404: 1008, 503: 1013, 429: 1013 }[status] ?? 1006;
}
