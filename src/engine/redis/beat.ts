/**
 * What a node concludes from its own beats, which it sends to the primary once a second and hears where its announcements come
 * from. A beat that is not announced shows a connection that is dead, or that leads to a server that does not follow the
 * primary; one that was skipped, or a replica that was filled anew, shows lost announcements.
 */

/** How often a node sends one. */
export const beatMilliseconds = 1000;

/** So long after the last beat it is in doubt whether announcements arrive. */
const staleMilliseconds = 2500;

/** So many beats without an announcement show that the announcements do not arrive. */
const lateBeats = 3;

/** Beats that are remembered: a replica may lag by as many seconds, and its delay is still measured. */
const rememberedBeats = 60;

export class Beat {
  /** From the sending of the last announced beat to its announcement. */
  delayMilliseconds = 0;
  /** How many beats in a row were announced before the next was sent. */
  inTime = 0;
  readonly #missed: () => void;
  /** When each beat was sent that was not yet announced, by its number, in milliseconds of `performance.now()`. */
  readonly #sent = new Map<number, number>();
  /** When the last beat was announced. */
  #announcedMilliseconds = Number.NEGATIVE_INFINITY;
  /** Full resyncs of replicas, by the last announced beat. */
  #resyncs: number | undefined;

  /** @param missed called where announcements may have been lost */
  constructor(missed: () => void) {
    this.#missed = missed;
  }

  /** Forgets all: another connection is used. */
  restart(): void {
    this.inTime = 0;
    this.#sent.clear();
    this.#resyncs = undefined;
    this.#announcedMilliseconds = Number.NEGATIVE_INFINITY;
  }

  /** Whether announcements arrive. */
  get isFresh(): boolean {
    return performance.now() - this.#announcedMilliseconds < staleMilliseconds;
  }

  /** Counted in beats, because after a pause of this process the time is over though the announcement has arrived. */
  get isLate(): boolean {
    return this.#sent.size >= lateBeats;
  }

  sent(beat: number): void {
    if (this.#sent.size > 0) this.inTime = 0;
    this.#sent.set(beat, performance.now());
    if (this.#sent.size > rememberedBeats) this.unsent(beat - rememberedBeats);
  }

  /** It was refused. The connection for commands reports why. */
  unsent(beat: number): void {
    this.#sent.delete(beat);
  }

  /** @param message the number of a beat and that of full resyncs (beat.lua) */
  announced(message: string): void {
    const [beat = 0, resyncs = 0] = message.split(" ").map(Number);
    const sent = this.#sent.get(beat);
    if (sent === undefined) return; // It was sent before this connection was used.
    this.#announcedMilliseconds = performance.now();
    this.delayMilliseconds = this.#announcedMilliseconds - sent;
    this.inTime = this.delayMilliseconds < beatMilliseconds ? this.inTime + 1 : 0;
    if (this.#resyncs !== undefined && this.#resyncs !== resyncs) this.#missed();
    this.#resyncs = resyncs;
    for (const earlier of this.#sent.keys()) {
      if (earlier > beat) break;
      this.#sent.delete(earlier);
      if (earlier < beat) this.#missed();
    }
  }
}
