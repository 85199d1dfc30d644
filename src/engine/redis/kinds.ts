/**
 * Which topics are keyed, have presence or go into feeds is one setting of all nodes of a Redis: a topic that is keyed for one
 * node and plain for another begins a new epoch, with nothing in it, at each step of either. So it is recorded beside the fence. A
 * script of a node with another one is refused (fence.lua), and that node waits until no node with the recorded one lives
 * (agree.lua). Bounds such as `--keys-max` are not part of it: each node applies its own, which takes nothing from another's.
 */
import type { KindsOfTopics, PresenceLimits } from "../engine.ts";

/** Beats that stand still for so long are those of dead nodes. A node that returns to Redis beats within 2 s. */
const leaseMilliseconds = 10_000;

/** A node looks every 1 to 2 s. After a longer break, in which Redis may have been away, it watches anew. */
const breakMilliseconds = 5000;

export type Kinds = Pick<KindsOfTopics, "keyed" | "feeds"> & {
  /** Undefined where no topic has presence. */
  readonly presenceLimits?: PresenceLimits | undefined;
};

/** The flags that say it, one text whatever their order. No name has a space or a quotation mark. */
export function textOfKinds({ keyed, feeds, presenceLimits }: Kinds): string {
  const flags = [
    ...keyed.map((pattern) => `--keyed '${pattern}'`),
    ...feeds.map(({ pattern, topic }) => `--feed '${pattern} ${topic}'`),
    ...(presenceLimits?.presence ?? []).map((pattern) => `--presence '${pattern}'`),
    // Whoever leaves is taken away by any node.
    ...(presenceLimits ? [`--presence-grace ${presenceLimits.presenceGraceSeconds}s`] : []),
  ];
  return [...new Set(flags)].sort().join(" ") || "neither --keyed nor --feed";
}

/** Stands for it in every script, which so takes no longer for more patterns. */
export const digestOfKinds = (kinds: Kinds): string =>
  new Bun.CryptoHasher("sha256").update(textOfKinds(kinds)).digest("hex").slice(0, 16);

/** Watches the beats of the nodes with another setting, as one text, until they have stood still for a lease. */
export class BeatsWatch {
  #beats = "";
  /** When they were first seen as they are, and last, in milliseconds of `performance.now()`. */
  #firstMilliseconds = 0;
  #lastMilliseconds = 0;

  /** @param beats empty where Redis refuses to write: then nodes that live cannot beat */
  seen(beats: string, now = performance.now()): void {
    const isBroken = now - this.#lastMilliseconds > breakMilliseconds;
    if (isBroken || beats === "" || beats !== this.#beats) this.#firstMilliseconds = now;
    this.#beats = beats;
    this.#lastMilliseconds = now;
  }

  /** The beats that have stood still for a lease; empty where there are none. */
  still(now = performance.now()): string {
    const isBroken = now - this.#lastMilliseconds > breakMilliseconds;
    return !isBroken && now - this.#firstMilliseconds >= leaseMilliseconds ? this.#beats : "";
  }
}
