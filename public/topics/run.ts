/** Publishes by itself and cuts the line: once to show it, or at random for a minute to prove it. */
import { signal } from "@preact/signals";
import { words } from "../ground/words.ts";
import type { Publisher } from "./publisher.ts";
import type { Subscription } from "./subscription.ts";

export type RunKind = "show" | "minute";

const minuteMilliseconds = 60_000;

/** Between two messages of the minute. */
const publishMilliseconds = 50;

/** Times of `show`, in milliseconds. */
const shown = { message: 450, afterCut: 900, before: 3, during: 5, after: 2 };

export class Run {
  readonly kind = signal<RunKind | undefined>(undefined);
  /** Of the minute. */
  readonly secondsLeft = signal(0);
  readonly #subscription: Subscription;
  readonly #publisher: Publisher;
  #stop = new AbortController();
  #count = 0;

  constructor(subscription: Subscription, publisher: Publisher) {
    this.#subscription = subscription;
    this.#publisher = publisher;
  }

  stop(): void {
    this.#stop.abort();
  }

  /** The topics must be subscribed to. Resolves when the run has ended. */
  async start(kind: RunKind): Promise<void> {
    this.#stop.abort();
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.kind.value = kind;
    try {
      await (kind === "show" ? this.#show(signal) : this.#minute(signal));
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      if (signal === this.#stop.signal) this.kind.value = undefined;
    }
  }

  /** Three messages, a cut, five that are missed, and the line comes back. */
  async #show(signal: AbortSignal): Promise<void> {
    await this.#untilOpen(signal);
    await this.#publishSome(shown.before, signal);
    this.#subscription.cut(60);
    await pause(shown.afterCut, signal);
    await this.#publishSome(shown.during, signal);
    await pause(shown.afterCut, signal);
    this.#subscription.connect();
    await this.#untilOpen(signal);
    await pause(shown.afterCut, signal);
    await this.#publishSome(shown.after, signal);
  }

  async #minute(signal: AbortSignal): Promise<void> {
    const end = performance.now() + minuteMilliseconds;
    let cutAt = performance.now() + 1000;
    await this.#untilOpen(signal);
    while (performance.now() < end) {
      this.secondsLeft.value = Math.ceil((end - performance.now()) / 1000);
      void this.#publishOne();
      if (performance.now() >= cutAt && this.#subscription.state.peek().name === "open") {
        this.#subscription.cut(0.2 + Math.random());
        cutAt = performance.now() + 1500 + Math.random() * 4000;
      }
      await pause(publishMilliseconds, signal);
    }
    await this.#untilOpen(signal);
  }

  async #publishSome(count: number, signal: AbortSignal): Promise<void> {
    for (let number = 0; number < count; number++) {
      await this.#publishOne();
      await pause(shown.message, signal);
    }
  }

  #publishOne(): Promise<boolean> {
    return this.#publisher.publish({
      topics: this.#subscription.choice.peek().topics,
      body: words.peek().sample(++this.#count),
      contentType: "text/plain",
      attributes: {},
      ends: false,
    });
  }

  async #untilOpen(signal: AbortSignal): Promise<void> {
    while (this.#subscription.state.peek().name !== "open") await pause(50, signal);
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
