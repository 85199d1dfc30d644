/** What the server measures of itself, once a second, from `GET /status`. */
import { signal } from "@preact/signals";
import { readEvents, request } from "../../src/client/transport.ts";
import { nextToPage } from "../frame/address.ts";
import { Refusal, refusalOf } from "../frame/requests.ts";
import { token } from "../frame/settings.ts";

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

export class ServerStatus {
  readonly samples = signal<readonly Status[]>([]);
  /** Why there is none; undefined while there is. */
  readonly refusal = signal<Refusal | undefined>(undefined);
  #abort = new AbortController();

  /** Also called after the token was changed. */
  start(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    void this.#follow(this.#abort.signal);
  }

  get latest(): Status | undefined {
    return this.samples.value.at(-1);
  }

  async #follow(ending: AbortSignal): Promise<void> {
    while (!ending.aborted) {
      try {
        const answer = await request(nextToPage("status"), token.peek(), ending, "text/event-stream");
        if (!answer.ok) throw await refusalOf(answer, false);
        await readEvents(answer, (events) => {
          this.refusal.value = undefined;
          for (const data of events) this.#add(JSON.parse(data));
        });
      } catch (error) {
        if (ending.aborted) return;
        this.refusal.value = error instanceof Refusal ? error : undefined;
        // Without another token the answer stays the same.
        if (error instanceof Refusal && error.status < 500) return;
      }
      await new Promise((resolve) => setTimeout(resolve, retrySeconds * 1000));
    }
  }

  #add(status: Status): void {
    this.samples.value = [...this.samples.peek(), status].slice(-samplesMax);
  }
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
