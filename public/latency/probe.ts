/** Measures the round trip to one server: a ping every second on a line of its own. */
import { signal } from "@preact/signals";
import { isOwnServer, withToken } from "../ground/address.ts";
import { Line, type LineState } from "../line/line.ts";

/** Ticks that are kept: the last five minutes. */
export const ticksMax = 300;

/** A later answer is counted as lost. */
const answerSecondsMax = 5;

interface Ping {
  readonly tick: number;
  readonly sentAtMilliseconds: number;
  isLost: boolean;
}

export class Probe implements Disposable {
  readonly state = signal<LineState>({ name: "closed", ending: undefined });
  /** The last round trip in milliseconds. */
  readonly last = signal<number | undefined>(undefined);
  /** Rises with each answer. */
  readonly beats = signal(0);
  /** Round trips by tick, in milliseconds; null for one without an answer. */
  readonly values: (number | null)[] = [];
  lost = 0;
  sent = 0;
  readonly #line: Line;
  /** The tick of the first value. */
  #firstTick = 0;
  /** Unanswered pings, oldest first. An echo line answers in order. */
  #pings: Ping[] = [];

  /** @param url the `/ping` of a Longwire, or another line that answers each message with one */
  constructor(readonly url: URL) {
    this.#line = new Line({
      dial: () => new WebSocket(url, [...(isOwnServer(url) ? withToken(["longwire.raw"]) : [])]),
      onState: (state) => {
        this.state.value = state;
        if (state.name === "open") return;
        for (const ping of this.#pings) this.#lose(ping);
        this.#pings = [];
      },
      onMessage: () => this.#answered(),
    });
  }

  start(): void {
    this.#line.connect();
  }

  stop(): void {
    this.#line.disconnect();
  }

  [Symbol.dispose](): void {
    this.#line[Symbol.dispose]();
  }

  /** @param tick counts the seconds, the same for all servers */
  ping(tick: number): void {
    if (this.values.length === 0) this.#firstTick = tick;
    this.values.push(null);
    if (this.values.length > ticksMax) {
      this.values.shift();
      this.#firstTick++;
    }
    const now = performance.now();
    for (const ping of this.#pings)
      if (now - ping.sentAtMilliseconds > answerSecondsMax * 1000) this.#lose(ping);
    if (!this.#line.send("ping")) return;
    this.sent++;
    this.#pings.push({ tick, sentAtMilliseconds: now, isLost: false });
  }

  #answered(): void {
    const ping = this.#pings.shift();
    if (!ping) return;
    const milliseconds = performance.now() - ping.sentAtMilliseconds;
    this.last.value = milliseconds;
    this.beats.value++;
    const index = ping.tick - this.#firstTick;
    if (!ping.isLost && index >= 0 && index < this.values.length) this.values[index] = milliseconds;
  }

  #lose(ping: Ping): void {
    if (!ping.isLost) this.lost++;
    ping.isLost = true;
  }
}
