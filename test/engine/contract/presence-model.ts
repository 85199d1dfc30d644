/** Who is here, written down without its engine's means: what each node said last of each member, and when the last one left. */
import type { MemberHere, Presence } from "../../../src/topic/presence.ts";

/** From when a member came until it has left. */
interface Stay {
  /** All that was said of it, in any order. */
  readonly said: MemberHere[];
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
    } else if (!stay)
      this.#stays.set(presence.key, { said: [presence], nodes: new Set([node]), goneTime: 0 });
    else {
      stay.said.push(presence);
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
    const lines = [...this.#stays].map(([key, { said }]) => {
      const [shown] = said.toSorted(
        (one, other) =>
          other.issuedSeconds - one.issuedSeconds || Number(infoNumber(other)) - Number(infoNumber(one)),
      );
      return `${key} ${shown?.info} ${(said[0]?.sinceTime ?? 0) / 1000}`;
    });
    return lines.sort().join("\n");
  }
}

/** The infos of the test are numbers of one digit. */
const infoNumber = ({ info }: MemberHere): unknown => (JSON.parse(info) as { n: unknown }).n;
