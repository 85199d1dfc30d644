/** Counts what was seen, lost and seen twice, from the ids that arrived and from those of messages that this page published. */

/** Offsets remembered for each topic, to know a message that comes twice. */
const rememberedMax = 50_000;

interface Followed {
  readonly epoch: string;
  /** Messages up to this one were not asked for, or were reported as gone. */
  from: number;
  last: number;
  readonly seen: Set<number>;
  /** Published by this page and not seen yet. */
  readonly awaited: Set<number>;
}

export class Proof {
  cuts = 0;
  seen = 0;
  lost = 0;
  twice = 0;
  gaps = 0;
  readonly #topics = new Map<string, Followed>();

  /** Begins anew: the counts are kept, the places are not. */
  restart(): void {
    this.#topics.clear();
  }

  reset(): void {
    this.cuts = this.seen = this.lost = this.twice = this.gaps = 0;
  }

  /** @param id messages after it follow */
  opened(topic: string, id: string): void {
    const { epoch, offset } = positionOf(id);
    if (this.#topics.get(topic)?.epoch !== epoch) this.#follow(topic, epoch, offset);
  }

  /** @returns whether the message is later than each one before it */
  received(topic: string, id: string): boolean {
    this.seen++;
    const { epoch, offset } = positionOf(id);
    const followed = this.#topics.get(topic);
    if (followed?.epoch !== epoch) {
      this.#follow(topic, epoch, offset - 1).seen.add(offset);
      return followed === undefined;
    }
    const isLater = offset > followed.last;
    if (followed.seen.has(offset)) this.twice++;
    remember(followed.seen, offset);
    followed.awaited.delete(offset);
    if (!isLater) return false;
    followed.last = offset;
    for (const awaited of followed.awaited) {
      if (awaited > offset) continue;
      followed.awaited.delete(awaited);
      this.lost++; // A later one was delivered instead of it.
    }
    return true;
  }

  /** The server has accepted a message of this page. */
  published(topic: string, id: string): void {
    const { epoch, offset } = positionOf(id);
    const followed = this.#topics.get(topic);
    if (followed?.epoch !== epoch || offset <= followed.from || followed.seen.has(offset)) return;
    if (offset > followed.last) followed.awaited.add(offset);
    else if (offset > followed.last - rememberedMax) this.lost++;
  }

  /**
   * The server has reported that messages up to `from` are gone: they are not lost in silence.
   * @param isSnapshot the topic is keyed: what it holds follows, whatever was seen before
   */
  gap(topic: string, from: string, isSnapshot = false): void {
    this.gaps++;
    const { epoch, offset } = positionOf(from);
    const followed = this.#topics.get(topic);
    if (followed?.epoch !== epoch || isSnapshot) {
      this.#follow(topic, epoch, offset);
      return;
    }
    followed.from = offset;
    followed.last = Math.max(followed.last, offset);
    for (const awaited of followed.awaited) if (awaited <= offset) followed.awaited.delete(awaited);
  }

  #follow(topic: string, epoch: string, offset: number): Followed {
    const followed = {
      epoch,
      from: offset,
      last: offset,
      seen: new Set<number>(),
      awaited: new Set<number>(),
    };
    this.#topics.set(topic, followed);
    return followed;
  }
}

function remember(seen: Set<number>, offset: number): void {
  seen.add(offset);
  if (seen.size <= rememberedMax) return;
  const [oldest] = seen;
  if (oldest !== undefined) seen.delete(oldest);
}

/** @param id `<epoch>-<offset>`, and inside a snapshot `<epoch>-<offset>.<base>` */
export function positionOf(id: string): { readonly epoch: string; readonly offset: number } {
  const dash = id.lastIndexOf("-");
  return { epoch: id.slice(0, dash), offset: Math.trunc(Number(id.slice(dash + 1))) };
}
