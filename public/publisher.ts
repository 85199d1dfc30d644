/** Publishes what is typed, and shows in the log what became of it. */
import type { MessageLog } from "./log.ts";
import { describeFailure, publish, Refusal, topicUrl } from "./topic-requests.ts";
import type { Words } from "./words.ts";

export interface Publication {
  readonly topic: string;
  readonly text: string;
  readonly contentType: string;
  /** Shown beside the text in the log. */
  readonly label: string;
}

export class Publisher {
  readonly #log: MessageLog;
  readonly #words: Words;
  /** Resolves when every earlier message is answered: messages are published in the order they were sent. */
  #previous = Promise.resolve();

  constructor(log: MessageLog, words: Words) {
    this.#log = log;
    this.#words = words;
  }

  /** @param onFailure called if the message was refused or its outcome is unknown */
  publish({ topic, text, contentType, label }: Publication, onFailure: () => void): void {
    const entry = this.#log.sent(text, { label });
    this.#previous = this.#previous.then(async () => {
      try {
        entry.showId(await publish(topicUrl(topic), text, contentType));
      } catch (error) {
        // A fault of the server can come before the message is kept, or after.
        const isRefused = error instanceof Refusal && error.status < 500;
        entry.showFailure(isRefused ? this.#words.refused : this.#words.unknown);
        const note = isRefused ? this.#words.notPublished : this.#words.perhapsPublished;
        this.#log.note(note(describeFailure(error, this.#words)), "error");
        onFailure();
      }
    });
  }
}
