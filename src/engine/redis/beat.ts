/**
 * The beat of a node: once a second it asks the primary for its generation, and is announced to the node itself. A beat that
 * is not announced shows an announcement connection that is dead, or that leads to a server that does not follow the one
 * of the commands; one that was skipped, or a replica that was filled anew, shows lost announcements.
 */

/** How long a beat may take to be announced. */
const beatMilliseconds = 1000;
const lateMilliseconds = 2500;

/** So many beats without an announcement show that the announcements do not arrive. */
const lateBeats = 3;

/** What the primary says of itself (fence.lua). */
export interface Fence {
  readonly generation: number;
  /** The last generation that began with a possible loss, and when it began. */
  readonly lossy: number;
  readonly lossyTime: number;
  /** The most replicas that were ever connected. */
  readonly replicas: number;
}

export interface BeatDeps {
  /** Sends the beat with this number. */
  readonly send: (beat: number) => Promise<void>;
  /** Announcements may have been lost. */
  readonly missed: () => void;
  /** The announcements do not arrive. */
  readonly deaf: () => void;
}

export class Beat {
  /** From the sending of the last announced beat to its announcement. */
  delayMilliseconds = 0;
  readonly #deps: BeatDeps;
  /** When each beat was sent that was not yet announced, by its number, in milliseconds of `performance.now()`. */
  readonly #sent = new Map<number, number>();
  #last = 0;
  /** When the last beat was announced. */
  #announcedMilliseconds = Number.NEGATIVE_INFINITY;
  /** Full resyncs of replicas, by the last announced beat. */
  #resyncs: number | undefined;
  #timer: Timer | undefined;

  constructor(deps: BeatDeps) {
    this.#deps = deps;
  }

  /** Begins when both connections are up. Beats from before are forgotten. */
  start(): void {
    this.stop();
    this.#resyncs = undefined;
    this.#timer = setInterval(() => this.#beat(), beatMilliseconds).unref();
    this.#beat();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#sent.clear();
    this.#announcedMilliseconds = Number.NEGATIVE_INFINITY;
  }

  /** Whether announcements arrive. */
  get isFresh(): boolean {
    return performance.now() - this.#announcedMilliseconds < lateMilliseconds;
  }

  /** @param message the number of a beat and that of full resyncs (beat.lua) */
  announced(message: string): void {
    const [beat = 0, resyncs = 0] = message.split(" ").map(Number);
    const sent = this.#sent.get(beat);
    if (sent === undefined) return; // Of an earlier connection.
    this.#announcedMilliseconds = performance.now();
    this.delayMilliseconds = this.#announcedMilliseconds - sent;
    if (this.#resyncs !== undefined && this.#resyncs !== resyncs) this.#deps.missed();
    this.#resyncs = resyncs;
    for (const earlier of this.#sent.keys()) {
      if (earlier > beat) break;
      this.#sent.delete(earlier);
      if (earlier < beat) this.#deps.missed();
    }
  }

  #beat(): void {
    // Counted in beats, because after a pause of this process the time is over though the announcement has arrived.
    if (this.#sent.size >= lateBeats) {
      this.#sent.clear();
      this.#deps.deaf();
      return;
    }
    const beat = ++this.#last;
    this.#sent.set(beat, performance.now());
    this.#deps.send(beat).catch(() => this.#sent.delete(beat)); // The connection for commands reports why.
  }
}
