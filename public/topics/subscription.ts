/** The topics that the page follows across connections: where it continues, what its log says, and the proof. */
import { signal } from "@preact/signals";
import { asSocketUrl, withToken } from "../frame/address.ts";
import { tokenWanted } from "../frame/settings.ts";
import { words } from "../frame/words.ts";
import { describeEnding, EndingNotes } from "../line/endings.ts";
import { type Connection, Line, type LineState } from "../line/line.ts";
import type { Data } from "../log/entry.ts";
import { LogStore } from "../log/store.ts";
import { type Choice, linkOf } from "./choice.ts";
import { pingEvent, readTopicEvent, type TopicEvent, type TopicMessage } from "./events.ts";
import type { Flow } from "./flow.ts";
import { Proof } from "./proof.ts";
import { describeFailure, inspect, topicsUrl } from "./requests.ts";
import { Resume } from "./resume.ts";
import { Stream } from "./stream.ts";

const nothing: Choice = { topics: [], form: "cloudevents", since: "" };

export class Subscription {
  readonly log = new LogStore();
  readonly proof = new Proof();
  readonly state = signal<LineState>({ name: "closed", ending: undefined });
  readonly choice = signal(nothing);
  readonly roundTripMilliseconds = signal<number | undefined>(undefined);
  /** The address of the present connection, or of the next one. */
  readonly url = signal<URL | undefined>(undefined);
  readonly line: Line;
  readonly #flow: Flow;
  /** By topic, the id after which the next connection continues. */
  readonly #cursor = new Map<string, string>();
  readonly #endings = new EndingNotes(this.log);
  #resume: Resume | undefined;
  /** The server's time of the last `longwire.open`, in milliseconds since 1970. */
  #openedAt = 0;

  constructor(flow: Flow) {
    this.#flow = flow;
    this.line = new Line({
      dial: () => this.#dial(),
      heartbeat: {
        message: pingEvent,
        isNeeded: () => this.choice.peek().form === "cloudevents",
        isAnswer: (frame) => readTopicEvent(frame).kind === "pong",
        onRoundTrip: (milliseconds) => {
          this.roundTripMilliseconds.value = milliseconds;
        },
      },
      onState: (state) => this.#stateChanged(state),
      onMessage: (frame) => this.#received(frame),
    });
  }

  /** By topic, the last id that was received. */
  get cursor(): ReadonlyMap<string, string> {
    return this.#cursor;
  }

  start(choice: Choice): void {
    this.choice.value = choice;
    this.#cursor.clear();
    this.proof.restart();
    this.#resume = undefined;
    history.replaceState(null, "", linkOf(choice));
    this.line.connect();
  }

  /** Drops the connection as a lost network would. */
  cut(waitSeconds: number): void {
    if (this.state.peek().name !== "open") return;
    this.proof.cuts++;
    this.line.cut(waitSeconds);
  }

  #dial(): Connection {
    const { topics, form } = this.choice.peek();
    const since = this.#since();
    const query = {
      ...(since === "" ? {} : { since }),
      ...(form === "sse" ? { format: "cloudevents" } : {}),
    };
    const url = topicsUrl(topics, query);
    this.url.value = form === "sse" ? url : asSocketUrl(url);
    if (form === "sse") return new Stream(url);
    return new WebSocket(this.url.value, [
      ...withToken(form === "raw" ? ["longwire.raw"] : ["cloudevents.json"]),
    ]);
  }

  /** Ids of what was received, else what was chosen. A raw socket has no ids, and begins from now when it comes back. */
  #since(): string {
    const { topics, since, form } = this.choice.peek();
    if (this.#cursor.size > 0) return topics.map((topic) => this.#cursor.get(topic) ?? "-").join(",");
    return form === "raw" && this.#openedAt > 0 ? "" : since;
  }

  /** An id that is gone must not be copied from the page. */
  #forgetSince(): void {
    const url = this.url.peek();
    if (!url) return;
    const changed = new URL(url);
    changed.searchParams.delete("since");
    this.url.value = changed;
  }

  #stateChanged(state: LineState): void {
    this.state.value = state;
    if (state.name === "connecting") this.#openedAt = this.choice.peek().form === "raw" ? this.#openedAt : 0;
    if (state.name === "open" && this.choice.peek().form === "raw") {
      this.#openedAt = Date.now();
      this.log.note(words.peek().noteRaw(this.choice.peek().topics.join(", ")));
    }
    // While it connects, the drawn line stays cut: a try can fail.
    if (state.name === "open") this.#flow.isCut.value = false;
    else if ("ending" in state) this.#flow.isCut.value = state.ending !== undefined;
    this.#endings.changed(state);
    if ("ending" in state && state.ending?.code === 4401)
      tokenWanted.value = describeEnding(state.ending, words.peek());
  }

  #received(frame: Data): void {
    if (this.choice.peek().form !== "raw") {
      this.#receivedEvent(readTopicEvent(frame));
      return;
    }
    this.#flow.delivered(false);
    this.proof.seen++;
    this.log.add({ kind: "received", time: Date.now(), data: frame });
  }

  #receivedEvent(event: TopicEvent): void {
    const say = words.peek();
    switch (event.kind) {
      case "open":
        this.#opened(event);
        return;
      case "gap":
        this.#resume = undefined;
        this.log.note(say.gap(event.topic, event.requested, event.from), "gap");
        this.#cursor.set(event.topic, event.from);
        this.#forgetSince();
        this.proof.gap(event.topic, event.from);
        return;
      case "end":
        this.#cursor.set(event.topic, event.id);
        this.#resume?.ended(event.topic, event.id);
        this.log.note(say.noteEnd(event.topic));
        return;
      case "message":
        this.#receivedMessage(event);
    }
  }

  #opened({ topics, time }: TopicEvent & { kind: "open" }): void {
    const say = words.peek();
    this.#openedAt = time;
    const isFirst = this.#cursor.size === 0;
    const from = new Map(topics.map(({ topic, id }) => [topic, id]));
    for (const { topic, id } of topics) {
      this.#cursor.set(topic, id);
      this.proof.opened(topic, id);
    }
    const names = topics.map(({ topic }) => topic).join(", ");
    if (isFirst) this.log.note(say.noteSubscribed(names));
    else if (topics.every(({ resumed }) => resumed)) {
      this.log.note(say.noteResumed);
      void this.#countMissed(from);
    }
  }

  #receivedMessage(message: TopicMessage): void {
    const { topic, id, time, type, contentType, attributes, data } = message;
    const previous = this.#cursor.get(topic);
    if (!this.proof.received(topic, id) && previous !== undefined)
      this.log.note(words.peek().notAfter(previous, id), "error");
    this.#cursor.set(topic, id);
    const isReplayed = time < this.#openedAt;
    this.#flow.delivered(isReplayed);
    this.log.add({
      kind: "received",
      time,
      data,
      id,
      ...(this.choice.peek().topics.length > 1 ? { topic } : {}),
      ...(type === undefined ? {} : { type }),
      ...(contentType === "text/plain" ? {} : { contentType }),
      ...(Object.keys(attributes).length > 0 ? { attributes } : {}),
      ...(isReplayed ? { isReplayed } : {}),
    });
    this.#resume?.received(topic, id);
  }

  /** The line does not report how much is coming, so the page asks for the topics' positions. */
  async #countMissed(from: ReadonlyMap<string, string>): Promise<void> {
    const resume = new Resume(from, (count) => {
      this.#flow.waiting.value = 0;
      this.log.note(words.peek().noteComplete(count), "complete");
    });
    this.#resume = resume;
    try {
      const topics = await inspect([...from.keys()]);
      const ends = new Map<string, string>();
      for (const { topic, position } of topics) if (position !== null) ends.set(topic, position);
      if (this.#resume === resume) resume.endsAt(ends);
    } catch (error) {
      const say = words.peek();
      if (this.#resume === resume) this.log.note(say.notCounted(describeFailure(error, say)), "error");
    }
  }
}
