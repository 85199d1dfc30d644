/** What the server measures of itself, once a second, from `GET /status`. */
import { signal } from "@preact/signals";
import { readEvents, request } from "../../src/client/transport.ts";
import { nextToPage } from "../ground/address.ts";
import { Refusal, refusalOf } from "../ground/requests.ts";
import { token } from "../ground/settings.ts";

/** Docs/operations.md describes each member. Counters count since the start of the server. */
export interface Status {
  readonly time: string;
  readonly version: string;
  readonly uptimeSeconds: number;
  readonly connections: Readonly<Record<string, number>>;
  readonly connectionsMax: number;
  readonly receivedMessages: number;
  readonly publishedMessages: number;
  readonly deliveredMessages: number;
  readonly replayedMessages: number;
  readonly resumes: { readonly complete: number; readonly gap: number };
  readonly gaps: number;
  readonly cut: Readonly<Record<string, number>>;
  readonly refused: Readonly<Record<string, number>>;
  readonly memoryBytes: number;
  readonly bufferedBytes: number;
  readonly eventLoopDelaySeconds: number;
  readonly engine: {
    readonly kind: string;
    readonly available: boolean;
    readonly reason: string | undefined;
    readonly topics: number | undefined;
    readonly historyBytes: number | undefined;
  };
  /** The most subscribers first. An older server has no such list. */
  readonly busiestTopics?: readonly { readonly topic: string; readonly subscribers: number }[];
  readonly draining: boolean;
}

/** Five minutes. */
const samplesMax = 300;

const retrySeconds = 5;

/**
 * The tabs of a browser share one stream: over HTTP/1.1 it opens six connections to a host, and the next request would wait.
 * The visible tab that holds the lock reads the stream and hands its samples to the others.
 */
export class ServerStatus {
  readonly samples = signal<readonly Status[]>([]);
  /** Why there is none; undefined while there is. */
  readonly refusal = signal<Refusal | undefined>(undefined);
  #abort = new AbortController();

  constructor() {
    document.addEventListener("visibilitychange", () => this.start());
  }

  /** Also called after the token was changed. */
  start(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#share(this.#abort.signal).catch((error) => {
      if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
    });
  }

  get latest(): Status | undefined {
    return this.samples.value.at(-1);
  }

  async #share(ending: AbortSignal): Promise<void> {
    // A browser has locks only over HTTPS and on this machine. Elsewhere each visible tab has a stream of its own.
    const name = navigator.locks ? await shareName() : "";
    if (ending.aborted) return;
    const channel = name === "" ? undefined : new BroadcastChannel(name);
    if (channel) channel.onmessage = ({ data }) => this.#add(data);
    ending.addEventListener("abort", () => channel?.close());
    if (document.hidden) return; // A browser may suspend it together with the lock.
    const follow = (): Promise<void> => this.#follow(ending, (status) => channel?.postMessage(status));
    await (channel ? navigator.locks.request(name, { signal: ending }, follow) : follow());
  }

  async #follow(ending: AbortSignal, handOn: (status: Status) => void): Promise<void> {
    while (!ending.aborted) {
      try {
        const answer = await request(nextToPage("status"), token.peek(), ending, "text/event-stream");
        if (!answer.ok) throw await refusalOf(answer, false);
        await readEvents(answer, (events) => {
          for (const status of events.map((data): Status => JSON.parse(data))) {
            this.#add(status);
            handOn(status);
          }
        });
      } catch (error) {
        this.refusal.value = error instanceof Refusal ? error : undefined;
        // Without another token the answer stays the same.
        if (error instanceof Refusal && error.status < 500) return;
      }
      await pause(retrySeconds, ending);
    }
  }

  #add(status: Status): void {
    this.refusal.value = undefined;
    this.samples.value = [...this.samples.peek(), status].slice(-samplesMax);
  }
}

/** Tabs with different tokens may not see the same. A lock has a name that every tab can read, so it has no token in it. */
async function shareName(): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token.peek()));
  return `${nextToPage("status")} ${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
}

function pause(seconds: number, ending: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
    ending.addEventListener("abort", () => resolve());
  });
}

/** Increases a second between two samples. */
export function rates(samples: readonly Status[], read: (status: Status) => number): (number | null)[] {
  return samples.map((status, index) => {
    const previous = samples[index - 1];
    if (!previous) return null;
    const seconds = (Date.parse(status.time) - Date.parse(previous.time)) / 1000;
    const increase = read(status) - read(previous);
    return seconds > 0 && increase >= 0 ? increase / seconds : null; // Less than before: the server was restarted.
  });
}

export function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/** Connections that follow topics. */
export function subscribersOf({ connections }: Status): number {
  const { echo = 0, refused = 0, status = 0 } = connections;
  return sumOf(connections) - echo - refused - status;
}
