/**
 * The proof: publishes numbered messages, cuts its own lines on purpose, comes back with the last id, and counts what each
 * line received. A told gap is no loss; a message that is neither seen nor in a gap is one.
 */
import { follow, type Open } from "../client/client.ts";
import { overSocket, overStream } from "../client/transport.ts";
import { checkPatienceSeconds } from "../settings/limits.ts";
import { type CheckTarget, PublishError } from "./check-target.ts";
import { causeOf, type Finding, fine, wrong } from "./check-transports.ts";

export type LineKind = "WebSocket" | "events";

/** Publications at once. */
const publishersCount = 16;

/**
 * Messages published and not seen by each line. It must be less than what a topic keeps (--history-messages, which may
 * be as low as 100), or a line that was cut would be told a gap.
 */
const aheadMax = 50;

/** A line is cut after so many messages, at random. */
const cutAfter = { least: 50, most: 400 };

/** Until a line that was lost by itself comes back. */
const retrySeconds = 0.1;

/** What was published so far. */
interface Ledger {
  /** Publications begun: messages are numbered from 0. */
  begun: number;
  /** Ids by number. */
  readonly ids: Map<number, string>;
}

/** @param progress called with the share that is done */
export async function checkResume(
  target: CheckTarget,
  kinds: readonly LineKind[],
  messages: number,
  progress: (share: number) => void,
): Promise<Finding[]> {
  const ledger: Ledger = { begun: 0, ids: new Map() };
  const lines = kinds.map((kind) => new Line(kind, target, ledger, messages));
  const following = Promise.all(lines.map((line) => line.follow()));
  const steps = async (): Promise<void> => {
    await Promise.all(lines.map(({ subscribed }) => subscribed));
    await publishAll(target, lines, messages, ledger, progress);
    await Promise.all(lines.map((line) => line.finish()));
  };
  const begun = performance.now();
  try {
    await Promise.race([steps(), following]);
  } catch (error) {
    if (!(error instanceof StuckLine)) return [wrong("resume", causeOf(error))];
    return lines.map((line) => {
      const finding = line.finding();
      return line.kind === error.kind ? { ...finding, isFine: false, text: error.message } : finding;
    });
  } finally {
    for (const line of lines) line.stop();
  }
  const seconds = Number(((performance.now() - begun) / 1000).toFixed(1));
  const text = `${messages.toLocaleString("en")} messages in ${seconds} s; ${usualTime}`;
  return [...lines.map((line) => line.finding()), fine("time of the proof", text, { seconds })];
}

/** Measured on one machine. So many are published at once, and each is answered after a round trip. */
const usualTime = `10,000 usually take 5 s on one machine, and elsewhere a round trip for each ${publishersCount}`;

/** Something in the way holds one line back. The others wait for it, and are not at fault. */
class StuckLine extends Error {
  constructor(
    readonly kind: LineKind,
    message: string,
  ) {
    super(message);
  }
}

async function publishAll(
  target: CheckTarget,
  lines: readonly Line[],
  messages: number,
  ledger: Ledger,
  progress: (share: number) => void,
): Promise<void> {
  const publisher = async (): Promise<void> => {
    while (ledger.begun < messages) {
      const number = ledger.begun++;
      await Promise.all(lines.map((line) => line.until(number - aheadMax)));
      ledger.ids.set(number, await publishSurely(target, number));
      progress(ledger.ids.size / messages);
    }
  };
  await Promise.all(Array.from({ length: publishersCount }, publisher));
}

/** Repeats a publication whose fate is unknown with the same key, so that it is published once. */
async function publishSurely(target: CheckTarget, number: number): Promise<string> {
  const key = crypto.randomUUID();
  const deadline = performance.now() + checkPatienceSeconds * 1000;
  for (;;) {
    try {
      return await target.publish(String(number), key);
    } catch (error) {
      const isForNow =
        error instanceof PublishError ? error.isForNow : error instanceof TypeError || isNetwork(error);
      if (!isForNow || performance.now() > deadline) throw error;
      await Bun.sleep(100);
    }
  }
}

const isNetwork = (error: unknown): boolean => error instanceof Error && "code" in error;

interface ReportedGap {
  readonly requested: string;
  readonly from: string;
}

/** A subscriber that is cut on purpose. */
class Line {
  readonly #seen: Uint16Array;
  readonly #gaps: ReportedGap[] = [];
  readonly #subscribed = Promise.withResolvers<void>();
  readonly #leaving = new AbortController();
  /** One more than the highest number that it has seen, or that was published when it was told a gap. */
  #reached = 0;
  #cuts = 0;
  /** The Content-Encoding of the event stream: Longwire's gzip, of which nothing waits for more, or one of something in the way. */
  #encoding: string | undefined;
  #messagesUntilCut = 0;
  #cut = (): void => undefined;
  readonly #waiting = new Set<{ readonly number: number; readonly resolve: () => void }>();
  #progressMilliseconds = performance.now();

  constructor(
    readonly kind: LineKind,
    readonly target: CheckTarget,
    readonly ledger: Ledger,
    messages: number,
  ) {
    this.#seen = new Uint16Array(messages);
  }

  /** Resolves when it was told its first id. */
  get subscribed(): Promise<void> {
    return this.#subscribed.promise;
  }

  /** Comes back after each cut until it is stopped. @throws {Error} if nothing arrives for too long */
  async follow(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const { token } = this.target;
    const following = follow(this.target.topicUrl(), {
      transport: this.kind === "WebSocket" ? "websocket" : "eventsource",
      ...(token !== "" && { token: () => token }),
      open: this.#connect,
      onOpen: () => this.#subscribed.resolve(),
      onGap: (gap) => this.#gap(gap),
      onMessage: ({ data }) => this.#message(String(data)),
      onStop: (code, reason) => reject(new StuckLine(this.kind, `it was ended with ${code} ${reason}`)),
    });
    const watch = setInterval(() => {
      try {
        this.#requireProgress(following.cursor !== null);
      } catch (error) {
        reject(error);
      }
    }, 1000);
    this.#leaving.signal.addEventListener("abort", () => resolve());
    try {
      await promise;
    } finally {
      clearInterval(watch);
      following.stop();
    }
  }

  #requireProgress(isSubscribed: boolean): void {
    const silentSeconds = (performance.now() - this.#progressMilliseconds) / 1000;
    if (silentSeconds <= checkPatienceSeconds) return;
    if (!isSubscribed || this.#reached < this.ledger.ids.size)
      throw new StuckLine(
        this.kind,
        `nothing came for ${checkPatienceSeconds} s after ${this.#reached} messages: something in the way ` +
          (this.#compression ?? "holds them back"),
      );
    if (silentSeconds > 2 * checkPatienceSeconds)
      throw new Error(`no POST was answered for ${2 * checkPatienceSeconds} s`);
  }

  readonly #connect: Open = ({ isStream, url, signal }, receive, lost) => {
    this.#messagesUntilCut = cutAfter.least + Math.floor(Math.random() * (cutAfter.most - cutAfter.least));
    this.#cut = () => lost(1006, "cut on purpose", 0);
    const read = (text?: string): void => receive(text && JSON.parse(text));
    // It does not wait longer each time: the proof has little patience.
    const lostByItself = (code: number, reason: string): void => lost(code, reason, retrySeconds);
    if (isStream) return overStream(this.#askForStream(url, signal), read, lostByItself);
    const socket = this.target.socket(url.href, ["cloudevents.json"]);
    signal.addEventListener("abort", () => socket.terminate());
    return overSocket(socket, signal, read, lostByItself);
  };

  async #askForStream(url: URL, signal: AbortSignal): Promise<Response> {
    const answer = await this.target.openEvents(url.href, signal);
    this.#encoding = answer.headers.get("Content-Encoding") ?? undefined;
    return answer;
  }

  stop(): void {
    this.#leaving.abort();
  }

  /** Resolves when it has come so far. */
  async until(number: number): Promise<void> {
    if (this.#reached >= number) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add({ number, resolve });
    await promise;
  }

  /** Resolves when no message is missing, or none has come for a while. */
  async finish(): Promise<void> {
    const isPatient = (): boolean =>
      performance.now() - this.#progressMilliseconds < (checkPatienceSeconds * 1000) / 2;
    while (this.#count().lost > 0 && isPatient()) await Bun.sleep(20);
  }

  #count(): { readonly seen: number; readonly lost: number; readonly twice: number } {
    let seen = 0;
    let lost = 0;
    let twice = 0;
    for (const [number, id] of this.ledger.ids) {
      const count = this.#seen[number] ?? 0;
      if (count > 0) seen++;
      else if (!this.#gaps.some((gap) => isIn(gap, id))) lost++;
      if (count > 1) twice++;
    }
    return { seen, lost, twice };
  }

  /** What a compressed event stream means; undefined where it is not compressed. */
  get #compression(): string | undefined {
    if (this.#encoding === undefined) return undefined;
    return `holds back the compressed event stream (Content-Encoding: ${this.#encoding}); if it compresses by itself, let it leave text/event-stream as it is`;
  }

  finding(): Finding {
    const { seen, lost, twice } = this.#count();
    const published = this.ledger.ids.size;
    const figures = { published, seen, lost, twice, cuts: this.#cuts, gaps: this.#gaps.length };
    const shown = (count: number): string => count.toLocaleString("en");
    const text =
      `${shown(published)} published, ${shown(seen)} seen, ${shown(lost)} lost, ${shown(twice)} twice; ` +
      `cut ${this.#cuts} times, ${this.#gaps.length} gaps told` +
      (lost > 0 && this.#compression ? `; something in the way ${this.#compression}` : "");
    return { check: `resume over ${this.kind}`, isFine: lost === 0 && twice === 0, text, figures };
  }

  #gap({ requested, from }: ReportedGap): void {
    this.#gaps.push({ requested, from });
    this.#advance(this.ledger.begun);
  }

  #message(data: string): void {
    const number = Number(data);
    if (this.#seen[number] === undefined) return; // Somebody else publishes to the topic.
    this.#seen[number]++;
    this.#progressMilliseconds = performance.now();
    this.#advance(number + 1);
    if (--this.#messagesUntilCut > 0) return;
    this.#cuts++;
    this.#cut();
  }

  #advance(reached: number): void {
    this.#reached = Math.max(this.#reached, reached);
    for (const waiter of this.#waiting) {
      if (this.#reached < waiter.number) continue;
      this.#waiting.delete(waiter);
      waiter.resolve();
    }
  }
}

/** Whether a message is one of those that a gap reported as gone. */
function isIn({ requested, from }: ReportedGap, id: string): boolean {
  const [epoch, offset] = split(id);
  const [requestedEpoch, requestedOffset] = split(requested);
  const [fromEpoch, fromOffset] = split(from);
  if (epoch === fromEpoch)
    return offset <= fromOffset && (fromEpoch !== requestedEpoch || offset > requestedOffset);
  return epoch === requestedEpoch && offset > requestedOffset;
}

function split(id: string): readonly [string, number] {
  const [epoch = "", offset = ""] = id.split("-");
  return [epoch, Number(offset)];
}
