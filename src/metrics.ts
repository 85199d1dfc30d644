/** Counters as plain numbers: counting costs the hot path one addition. Their names are in endpoint/operations/metrics.ts. */

/** The use of a connection: /ping, a form of /topics, or `refused` for one that was opened only to report why it is closed. */
export type ConnectionKind = (typeof connectionKinds)[number];

const connectionKinds = [
  "echo",
  "raw",
  "cloudevents",
  "events",
  "events_cloudevents",
  "poll",
  "publish",
  "status",
  "refused",
] as const;

/** From a publication in memory to one that waits for a slow replica. */
const delaySecondsBounds = [
  0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10,
];

export class Counters {
  /** Open now. */
  readonly open = zeros(...connectionKinds);
  /** Opened since the start. */
  readonly opened = zeros(...connectionKinds);
  /** Frames that clients sent on WebSockets. */
  receivedMessages = 0;
  /** Bytes of binary frames and UTF-16 units of text. The bytes of text are unknown until it is encoded. */
  receivedCharacters = 0;
  /** By POST, by a frame, or by a program. */
  publishedMessages = 0;
  publishedCharacters = 0;
  publishFailures = 0;
  /** Seconds that the broker took for each publication. */
  readonly publishSeconds = new Histogram(delaySecondsBounds);
  /** Seconds from a message's time to its last live subscriber here, for each form that has one. */
  readonly deliverySeconds = new Histogram(delaySecondsBounds);
  /** Messages given to live subscribers and in replays. A message to ten subscribers counts ten times. */
  readonly delivered = zeros("raw", "cloudevents", "events", "events_cloudevents");
  replayedMessages = 0;
  /**
   * Bytes of messages, event streams and polls that were handed to Bun, without headers and control frames. The echo line
   * is not in it: it sends back what it received, and an addition for each echo could be measured.
   */
  readonly sentBytes = zeros("raw", "cloudevents", "events", "events_cloudevents", "poll");
  /** Gaps reported, at the start of a subscription or later. */
  gaps = 0;
  /** Reads of history by which a topic on this node made up for announcements that it missed. */
  catchUps = 0;
  /** Subscriptions with a `since`, by how they began. */
  readonly resumes = zeros("complete", "gap");
  /** Connections that the server ended, by the limit that they exceeded. */
  readonly cut = zeros("slow", "buffered_total", "silent", "rate", "expired");
  /** Seconds in which few file descriptors were left. */
  descriptorShortages = 0;
  /** How often reading from a socket paused: its client sent too much in one turn, or did not take what it was sent. */
  readonly paused = zeros("flood", "unread");
  /** Things that were forgotten before their time, because a bound was reached. */
  readonly evicted = zeros("idempotency_keys", "positions");
  /** Requests and frames refused, by reason. */
  readonly refused = zeros(
    "origin",
    "host",
    "token",
    "permission",
    "connections",
    "connections_per_ip",
    "message_size",
    "content_encoding",
    "malformed",
    "silence",
    "ended",
    "taken_over",
    "expectation",
    "conflict",
    "precondition",
    "topic_full",
    "unavailable",
    "draining",
    "presence_full",
    "not_found",
    "method",
    "not_resumable",
    "upgrade",
    "fault",
  );
}

const zeros = <Name extends string>(...names: readonly Name[]): Record<Name, number> =>
  Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>;

/** Observations by size, as Prometheus counts them. */
export class Histogram {
  /** Observations in each bucket alone; the last one has no bound. */
  readonly counts: number[];
  sum = 0;

  /** @param bounds the upper bound of each bucket but the last, ascending */
  constructor(readonly bounds: readonly number[]) {
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    const { bounds } = this;
    let index = 0; // No findIndex: this is called for every message.
    while (index < bounds.length && value > (bounds[index] as number)) index++;
    this.counts[index] = (this.counts[index] ?? 0) + 1;
    this.sum += value;
  }
}

/** Time between two samples of the event loop, and the longest delay that is counted, in milliseconds. */
const delayStepMilliseconds = 20;
const delayMillisecondsMax = 60_000;

/** The usual time between two reads of /metrics, and less. */
const measuredMilliseconds = 60_000;

/**
 * How late the event loop serves a request that arrives at any moment: a sample every 20 ms. A loop that was held up for a
 * second is 50 samples, from 1 s down to 0.02 s, and not one. Samples wake up the process, so they are taken only while
 * somebody reads them.
 */
export class EventLoopDelay implements Disposable {
  readonly seconds = new Histogram([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]);
  #expectedMilliseconds = 0;
  #longestMilliseconds = 0;
  /** When the measurement ends, by `performance.now()`. */
  #endMilliseconds = 0;
  #timer: Timer | undefined;

  /** Measures from now on, for a minute. */
  measure(): void {
    const now = performance.now();
    this.#endMilliseconds = now + measuredMilliseconds;
    if (this.#timer) return;
    this.#expectedMilliseconds = now + delayStepMilliseconds;
    this.#timer = setInterval(() => this.#sample(performance.now()), delayStepMilliseconds).unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** The longest delay since the last call. */
  takeLongestSeconds(): number {
    const longest = this.#longestMilliseconds / 1000;
    this.#longestMilliseconds = 0;
    return longest;
  }

  #sample(nowMilliseconds: number): void {
    const late = Math.min(Math.max(0, nowMilliseconds - this.#expectedMilliseconds), delayMillisecondsMax);
    this.#longestMilliseconds = Math.max(this.#longestMilliseconds, late);
    for (let delay = late; delay >= 0; delay -= delayStepMilliseconds) this.seconds.observe(delay / 1000);
    this.#expectedMilliseconds = nowMilliseconds + delayStepMilliseconds;
    if (nowMilliseconds >= this.#endMilliseconds) this[Symbol.dispose]();
  }
}

/** A metric is read when it is scraped, so that between scrapes it costs only the counting. */
export type Metric = { readonly name: string; readonly help: string } & (
  | { readonly type: "counter" | "gauge"; read(): number | Promise<number> }
  | { readonly type: "counter" | "gauge"; readonly label: string; readLabelled(): LabelledSamples }
  | { readonly type: "histogram"; readHistogram(): Histogram }
);

/** Samples by the value of the metric's one label. */
export type LabelledSamples = Readonly<Record<string, number>>;

const plain =
  (type: "counter" | "gauge") =>
  (name: string, help: string, read: () => number | Promise<number>): Metric => ({ name, help, type, read });

const labelled =
  (type: "counter" | "gauge") =>
  (name: string, help: string, label: string, readLabelled: () => LabelledSamples): Metric => ({
    name,
    help,
    type,
    label,
    readLabelled,
  });

export const count = plain("counter");
export const gauge = plain("gauge");
export const counts = labelled("counter");
export const gauges = labelled("gauge");

export const histogram = (name: string, help: string, observed: Histogram): Metric => ({
  name,
  help,
  type: "histogram",
  readHistogram: () => observed,
});
