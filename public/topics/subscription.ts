/** The topics that the page follows across connections: where it continues, what its log says, and the proof. */
import { signal } from "@preact/signals";
import {
  type FollowedGap,
  type FollowedLive,
  type FollowedMessage,
  type Following,
  follow,
} from "../../src/client/client.ts";
import { token, tokenWanted } from "../ground/settings.ts";
import { words } from "../ground/words.ts";
import { describeEnding, EndingNotes } from "../line/endings.ts";
import type { Ending, LineState } from "../line/line.ts";
import type { Data } from "../log/entry.ts";
import { LogStore } from "../log/store.ts";
import { type Choice, linkOf } from "./choice.ts";
import { attributesOf } from "./events.ts";
import type { Flow } from "./flow.ts";
import { Keys } from "./keys.ts";
import { Presence } from "./presence.ts";
import { Proof } from "./proof.ts";
import { describeFailure, inspect, topicsUrl } from "./requests.ts";
import { Resume } from "./resume.ts";
import { type TransportEvents, transportOf } from "./transport.ts";

const nothing: Choice = { topics: [], form: "cloudevents", since: "", member: "" };

export class Subscription {
  readonly log = new LogStore();
  readonly proof = new Proof();
  readonly keys = new Keys();
  readonly presence = new Presence(() => this.log.changed());
  readonly state = signal<LineState>({ name: "closed", ending: undefined });
  readonly choice = signal(nothing);
  readonly roundTripMilliseconds = signal<number | undefined>(undefined);
  /** The address of the present connection, or of the next one. */
  readonly url = signal<URL | undefined>(undefined);
  readonly #flow: Flow;
  #following: Following | undefined;
  /** Ends the present connection. */
  #lost: Parameters<TransportEvents["connecting"]>[1] | undefined;
  /** Connections since the last one that opened. */
  #tries = 0;
  /** Whether the present connection, or the one before the wait, was open. */
  #isOpen = false;
  /** WebSockets do not pass here, and an event stream did. */
  #needsStream = false;
  /** By topic, the id after which the next connection continues. */
  readonly #cursor = new Map<string, string>();
  readonly #endings = new EndingNotes(this.log);
  #resume: Resume | undefined;
  #opened: FollowedMessage | undefined;
  /** The server's time of the last `longwire.open`, in milliseconds since 1970. */
  #openedAt = 0;

  constructor(flow: Flow) {
    this.#flow = flow;
    // The network has just come back, so a try now is likely to succeed: do not wait.
    addEventListener("online", () => {
      if (this.state.peek().name === "waiting") this.connect();
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
    this.keys.restart();
    this.presence.restart();
    this.log.changed();
    this.#resume = undefined;
    history.replaceState(null, "", linkOf(choice));
    this.connect();
  }

  /** @param member the name under which others see the line from now on; empty for none */
  joinAs(member: string): void {
    this.choice.value = { ...this.choice.peek(), member };
    this.connect();
  }

  /** Connects now, in place of the present connection, with the present token. */
  connect(): void {
    this.#following?.stop();
    this.presence.stop();
    this.#tries = 0;
    const choice = this.choice.peek();
    const isStream = choice.form === "sse" || (choice.form === "cloudevents" && this.#needsStream);
    const since = this.#since();
    const query = { ...(since !== "" && { since }), ...(choice.member !== "" && { member: choice.member }) };
    this.#following = follow(topicsUrl(choice.topics, query), {
      ...(isStream ? { transport: "eventsource" } : choice.form === "raw" ? { transport: "websocket" } : {}),
      ...(token.peek() === "" ? {} : { token: () => token.peek() }),
      open: transportOf(choice, {
        connecting: (url, lost) => {
          this.url.value = url;
          this.#lost = lost;
          this.#isOpen = false;
          this.#enter({ name: "connecting" });
        },
        opening: (event) => {
          this.#opened = event;
        },
        roundTrip: (milliseconds) => {
          this.roundTripMilliseconds.value = milliseconds;
        },
      }),
      onOpen: () => this.#open(),
      onMessage: (message) => this.#receivedMessage(message),
      onGap: (gap) => this.#gap(gap),
      onLive: (live) => this.#live(live),
      onEnd: ({ topic, id }) => this.#end(topic, id),
      onLost: (code, reason, waitSeconds) => this.#wait(this.#endingOf(code, reason), waitSeconds),
      onStop: (code, reason) => {
        if (reason !== "stopped") this.#enter({ name: "closed", ending: this.#endingOf(code, reason) });
      },
    });
  }

  /** Closes and stays closed. */
  disconnect(): void {
    const state = this.state.peek();
    this.#following?.stop();
    const ending =
      state.name === "waiting" ? state.ending : ({ code: 1000, reason: "", cause: "own" } as const);
    this.#enter({ name: "closed", ending });
  }

  /** Drops the connection as a lost network would. */
  cut(waitSeconds: number): void {
    if (this.state.peek().name !== "open") return;
    this.proof.cuts++;
    this.#lost?.(1006, "cut", waitSeconds);
  }

  /** Ids of what was received, else what was chosen. A raw socket has no ids, and begins from now when it comes back. */
  #since(): string {
    const { topics, since } = this.choice.peek();
    if (this.#cursor.size > 0) return topics.map((topic) => this.#cursor.get(topic) ?? "-").join(",");
    return since;
  }

  /** An id that is gone must not be copied from the page. */
  #forgetSince(): void {
    const url = this.url.peek();
    if (!url) return;
    const changed = new URL(url);
    changed.searchParams.delete("since");
    this.url.value = changed;
  }

  /** The client gives a reason of its own to a connection that it ends itself. */
  #endingOf(code: number, reason: string): Ending {
    if (reason === "cut" || reason === "silent") return { code, reason: "", cause: reason };
    return { code, reason, cause: code === 1006 && !this.#isOpen ? "unopened" : "remote" };
  }

  #wait(ending: Ending, waitSeconds: number): void {
    if (ending.code === 4401) {
      this.#following?.stop();
      this.#enter({ name: "closed", ending });
      return;
    }
    const retryAtMilliseconds = performance.now() + waitSeconds * 1000;
    const tries = ending.cause === "cut" ? 0 : ++this.#tries;
    this.#enter({ name: "waiting", ending, tries, retryAtMilliseconds });
  }

  #enter(state: LineState): void {
    this.state.value = state;
    // While it connects, the drawn line stays cut: a try can fail.
    if (state.name === "open") this.#flow.isCut.value = false;
    else if ("ending" in state) this.#flow.isCut.value = state.ending !== undefined;
    if (state.name === "closed") this.presence.stop();
    this.#endings.changed(state);
    if ("ending" in state && state.ending?.code === 4401)
      tokenWanted.value = describeEnding(state.ending, words.peek());
  }

  #open(): void {
    const say = words.peek();
    const { topics, form } = this.choice.peek();
    const names = topics.join(", ");
    this.#tries = 0;
    this.#isOpen = true;
    this.#openedAt = Date.parse(this.#opened?.time ?? "");
    this.#enter({ name: "open" });
    this.presence.start(topics);
    if (form === "cloudevents" && this.#following?.transport === "eventsource" && !this.#needsStream) {
      this.#needsStream = true;
      this.log.note(say.noteStream);
    }
    const isFirst = this.#cursor.size === 0;
    const opened = this.#opened?.data as {
      topics: readonly { topic: string; id: string; resumed: boolean }[];
    };
    for (const { topic, id } of opened.topics) this.#cursor.set(topic, id);
    if (form === "raw") {
      this.log.note(say.noteRaw(names));
      return;
    }
    for (const { topic, id } of opened.topics) this.proof.opened(topic, id);
    if (isFirst) this.log.note(say.noteSubscribed(names));
    else if (opened.topics.every(({ resumed }) => resumed)) {
      this.log.note(say.noteResumed);
      void this.#countMissed(new Map(opened.topics.map(({ topic, id }) => [topic, id])));
    }
  }

  #gap({ topic, requested, from, base }: FollowedGap): void {
    this.#resume = undefined;
    this.log.note(words.peek().gap(topic, requested, from), "gap");
    this.#cursor.set(topic, from);
    this.#forgetSince();
    this.proof.gap(topic, from, base !== undefined);
    if (base !== undefined) this.keys.gap(topic);
  }

  /** The id is that of the last message before it, which may have been replaced since. */
  #live({ topic, id }: FollowedLive): void {
    this.#cursor.set(topic, id);
    this.#resume?.ended(topic, id);
    this.keys.live(topic);
    this.log.changed();
  }

  #end(topic: string, id: string): void {
    this.#cursor.set(topic, id);
    this.#resume?.ended(topic, id);
    this.log.note(words.peek().noteEnd(topic));
  }

  #receivedMessage(message: FollowedMessage): void {
    const { topic, id, type, datacontenttype: contentType = "text/plain", partitionkey: key } = message;
    const data = (message.data ?? "") as Data; // A removal has none.
    if (this.choice.peek().form === "raw") {
      this.#flow.delivered(false);
      this.proof.seen++;
      this.log.add({ kind: "received", time: Date.now(), data });
      return;
    }
    const previous = this.#cursor.get(topic);
    if (!this.proof.received(topic, id) && previous !== undefined)
      this.log.note(words.peek().notAfter(previous, id), "error");
    this.#cursor.set(topic, id);
    const time = Date.parse(message.time);
    const attributes = attributesOf(message);
    const isReplayed = time < this.#openedAt;
    this.#flow.delivered(isReplayed);
    const entry = this.log.add({
      kind: "received",
      time,
      data,
      id,
      ...(this.choice.peek().topics.length > 1 ? { topic } : {}),
      ...(type === "longwire.message" ? {} : { type }),
      ...(contentType === "text/plain" ? {} : { contentType }),
      ...(Object.keys(attributes).length > 0 ? { attributes } : {}),
      ...(isReplayed ? { isReplayed } : {}),
    });
    if (key !== undefined) this.keys.changed(topic, key, type === "longwire.removed" ? undefined : entry);
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
