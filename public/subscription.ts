/** The topic that a line follows across its connections: where it continues, and what its log says. */
import type { MessageLog } from "./log.ts";
import { isAfter, Resume } from "./resume.ts";
import type { TopicEvent } from "./topic-events.ts";
import { askPosition, describeFailure, textType, topicUrl } from "./topic-requests.ts";
import type { Words } from "./words.ts";

export class Subscription {
  readonly #log: MessageLog;
  readonly #words: Words;
  #topic = "";
  #lastId: string | undefined;
  #resume: Resume | undefined;

  constructor(log: MessageLog, words: Words) {
    this.#log = log;
    this.#words = words;
  }

  /** Empty before the first `start`. */
  get topic(): string {
    return this.#topic;
  }

  /** The id after which the next connection continues; undefined for a topic that has not answered yet. */
  get lastId(): string | undefined {
    return this.#lastId;
  }

  /** Follows a topic from now on, or continues if it is the same one. */
  start(topic: string): void {
    if (topic !== this.#topic) this.#lastId = undefined;
    this.#topic = topic;
    this.#resume = undefined;
  }

  receive(event: TopicEvent): void {
    switch (event.type) {
      case "open":
        if (event.resumed) {
          this.#log.note(this.#words.noteResumed(event.id));
          void this.#countMissed(event.id);
        } else if (this.#lastId === undefined) {
          this.#log.note(this.#words.noteSubscribed(this.#topic, event.id));
        }
        this.#lastId = event.id;
        return;
      case "gap":
        this.#resume = undefined;
        this.#log.note(this.#words.gap(event.requested, event.from), "gap");
        this.#lastId = event.from;
        return;
      case "end":
        this.#lastId = event.id;
        this.#resume?.ended(event.id);
        this.#log.note(this.#words.noteTopicEnded(this.#topic, event.id));
        return;
      case "message":
        this.#receiveMessage(event);
    }
  }

  #receiveMessage({ id, time, contentType, data }: TopicEvent & { type: "message" }): void {
    if (this.#lastId !== undefined && !isAfter(id, this.#lastId))
      this.#log.note(this.#words.notAfter(this.#lastId, id), "error");
    this.#lastId = id;
    this.#log.received(data, { id, time, ...(contentType === textType ? {} : { label: contentType }) });
    this.#resume?.received(id);
  }

  /** The line does not report how much is coming, so the page asks for the topic's position. */
  async #countMissed(fromId: string): Promise<void> {
    const resume = new Resume(fromId, (count) => this.#log.note(this.#words.noteComplete(count), "complete"));
    this.#resume = resume;
    try {
      const position = await askPosition(topicUrl(this.#topic));
      if (this.#resume === resume && position !== null) resume.endsAt(position);
    } catch (error) {
      if (this.#resume === resume)
        this.#log.note(this.#words.notCounted(describeFailure(error, this.#words)), "error");
    }
  }
}
