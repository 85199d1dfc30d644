/** Who is here, written down without its engine's means: what each node said last of each member, and when the last one left. */
import type { MemberHere, Presence } from "../../../src/topic/presence.ts";

/** From when a member came until it has left. */
interface Stay {
  readonly sinceTime: number;
  /** What counts of all that was said of it, in whichever order. */
  shown: MemberHere;
  readonly nodes: Set<number>;
  /** When the last node said that it is gone, in seconds of the test's clock. */
  goneTime: number;
}

export class PresenceModel {
  now = 0;
  readonly #stays = new Map<string, Stay>();

  constructor(readonly graceSeconds: number) {}

  say(node: number, presence: Presence): void {
    const stay = this.#stays.get(presence.key);
    if (!presence.isHere) {
      if (stay?.nodes.delete(node) && stay.nodes.size === 0) stay.goneTime = this.now;
    } else if (!stay) {
      const { sinceTime } = presence;
      this.#stays.set(presence.key, { sinceTime, shown: presence, nodes: new Set([node]), goneTime: 0 });
    } else {
      if (counts(presence, stay.shown)) stay.shown = presence;
      stay.nodes.add(node);
    }
  }

  pass(seconds: number): void {
    this.now += seconds;
    for (const [key, { nodes, goneTime }] of this.#stays)
      if (nodes.size === 0 && this.now - goneTime >= this.graceSeconds) this.#stays.delete(key);
  }

  /** Whom readers must have in by now: each with what it shows and since when. */
  members(): string {
    const lines = [...this.#stays].map(
      ([key, { shown, sinceTime }]) => `${key} ${shown.info} ${sinceTime / 1000}`,
    );
    return lines.sort().join("\n");
  }
}

/** Whether one counts against another: issued later, or with the higher number at once. */
const counts = (one: MemberHere, other: MemberHere): boolean =>
  one.issuedSeconds > other.issuedSeconds ||
  (one.issuedSeconds === other.issuedSeconds && infoNumber(one) > infoNumber(other));

/** The infos of the test are numbers of one digit. */
const infoNumber = ({ info }: MemberHere): number => (JSON.parse(info) as { n: number }).n;
