/** Who is here, of an engine with one node: what it says becomes entries of the topics that have the members of others. */
import type { Draft } from "../../topic/draft.ts";
import {
  boundOfMembers,
  joined,
  left,
  type MemberHere,
  outranks,
  type Presence,
  type RefusedMember,
  updated,
} from "../../topic/presence.ts";
import type { PresenceLimits } from "../engine.ts";

/** What it needs of its engine. */
interface MembersHereDeps {
  /** Whether further values may be kept. */
  hasRoom(): boolean;
  append(name: string, draft: Draft): void;
}

/** 50,000 at once, of a node that was cut off from its clients, took 90 ms and more; so many take 2 to 5. */
const leavesPerTurnMax = 1000;

/** A member that has no line any more. */
interface LeavingMember {
  /** Of the topic that has the members. */
  readonly name: string;
  readonly dueMilliseconds: number;
}

export type MembersLimits = Pick<PresenceLimits, "presenceGraceSeconds" | "presenceMembersMax">;

/** Where no topic has presence. */
export const noMembers: MembersLimits = { presenceGraceSeconds: 0, presenceMembersMax: 0 };

export class MembersHere {
  readonly #limits: MembersLimits;
  readonly #deps: MembersHereDeps;
  /** By topic and key; with what counts until they have left. */
  readonly #members = new Map<string, Map<string, MemberHere>>();
  /** Those without a line, the one that is due first at first: all have the same grace. */
  readonly #leaving = new Map<MemberHere, LeavingMember>();

  constructor(limits: MembersLimits, deps: MembersHereDeps) {
    this.#limits = limits;
    this.#deps = deps;
  }

  /**
   * @param name of the topic that has the members
   * @param now a monotonic clock, in milliseconds
   */
  say(name: string, said: readonly Presence[], now: number): readonly RefusedMember[] {
    const refused: RefusedMember[] = [];
    for (const presence of said) {
      if (!presence.isHere) this.#gone(name, presence.key, now);
      else {
        const bound = this.#here(name, presence);
        if (bound) refused.push({ key: presence.key, bound });
      }
    }
    return refused;
  }

  /** Takes those away whose grace is over: some now, and the others in the turns that follow. */
  sweep(now: number): void {
    let count = 0;
    for (const [member, { name, dueMilliseconds }] of this.#leaving) {
      if (dueMilliseconds > now) return;
      if (++count > leavesPerTurnMax) {
        setImmediate(() => this.sweep(now));
        return;
      }
      this.#leaving.delete(member);
      const members = this.#members.get(name);
      members?.delete(member.key);
      if (members?.size === 0) this.#members.delete(name);
      this.#deps.append(name, left(member.key));
    }
  }

  /** @returns the bound that is reached, if it is not taken in */
  #here(name: string, member: MemberHere): string | undefined {
    const members = this.#members.get(name);
    const known = members?.get(member.key);
    if (!known) return this.#join(name, member);
    this.#leaving.delete(known);
    if (!outranks(member, known)) return undefined;
    const { key, info } = member;
    const shown = { ...member, sinceTime: known.sinceTime };
    members?.set(key, shown);
    if (info !== known.info) this.#deps.append(name, updated(key, info, known.sinceTime));
    return undefined;
  }

  #join(name: string, member: MemberHere): string | undefined {
    const { presenceMembersMax } = this.#limits;
    let members = this.#members.get(name);
    if ((members?.size ?? 0) >= presenceMembersMax) return boundOfMembers(presenceMembersMax);
    if (!this.#deps.hasRoom())
      return "all members and values fill their memory: --history-bytes, or 256 MiB with --data";
    const { key, info, sinceTime } = member;
    if (!members) {
      members = new Map();
      this.#members.set(name, members);
    }
    members.set(key, member);
    this.#deps.append(name, joined(key, info, sinceTime));
    return undefined;
  }

  #gone(name: string, key: string, now: number): void {
    const member = this.#members.get(name)?.get(key);
    if (!member || this.#leaving.has(member)) return;
    const dueMilliseconds = now + this.#limits.presenceGraceSeconds * 1000;
    this.#leaving.set(member, { name, dueMilliseconds });
  }
}
