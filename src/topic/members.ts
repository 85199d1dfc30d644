/**
 * The members that have a line on this node, and what the engine is to be told of them.
 *
 *   a line opens or closes → its member is pending → PresenceRegister.present says what is so by then
 *
 * What is said is never a difference. So a call that failed is repeated with what is so by then, and an engine that has
 * forgotten this node is told all of it.
 */
import type { Logger } from "../log.ts";
import {
  type Member,
  outranks,
  type Presence,
  PresenceFull,
  type PresenceRegister,
  presencePerCallMax,
  type RefusedMember,
} from "./presence.ts";

/** A line of a member on one topic. */
export interface MemberLine {
  readonly topic: string;
  readonly member: Member;
  /** The next line of the same member on the topic. Set by `Members` only. */
  nextOfMember: MemberLine | undefined;
  /** The topic has as many members as it may. */
  refuse(error: PresenceFull): void;
}

/** A member that has a line here. */
interface PresentMember {
  lines: MemberLine;
  /** With the info that outranks that of its other lines, also of those that are closed. */
  shown: Member;
  readonly sinceTime: number;
}

interface TopicMembers {
  readonly topic: string;
  /** By key. */
  readonly present: Map<string, PresentMember>;
  /** Keys of members of whom the engine is to be told. */
  readonly pending: Set<string>;
  isInCall: boolean;
  /** Whether somebody came or went since its last call began. */
  hasChanged: boolean;
}

export interface MembersDeps {
  readonly register: PresenceRegister;
  readonly log: Logger;
}

/** Calls at once. More would hold up the publications behind them, when a node tells all of it again. */
const callsMax = 8;

/** Pause before what failed is said again. */
const retrySeconds = 1;

export class Members {
  /** Of all topics; who is on two counts twice. */
  count = 0;
  readonly #deps: MembersDeps;
  readonly #topics = new Map<string, TopicMembers>();
  /** Topics that have pending members and are in no call, the one that waits longest first. */
  readonly #waiting = new Set<TopicMembers>();
  /**
   * The same of those whose last call failed, and where nothing has changed since. They wait apart: an engine that is full
   * takes those who leave, and they must not wait behind all those who cannot come.
   */
  readonly #failing = new Set<TopicMembers>();
  #calls = 0;
  #retry: Timer | undefined;
  #hasFailed = false;
  #isClosed = false;

  constructor(deps: MembersDeps) {
    this.#deps = deps;
    deps.register.onForgotten(() => this.#tellAll());
  }

  /** Members of whom the engine was not told yet. */
  get pendingCount(): number {
    let count = 0;
    for (const { pending } of this.#topics.values()) count += pending.size;
    return count;
  }

  /** A line is open. */
  enter(line: MemberLine): void {
    const { member } = line;
    const topic = this.#topic(line.topic);
    const known = topic.present.get(member.key);
    if (known) {
      line.nextOfMember = known.lines;
      known.lines = line;
      if (!outranks(member, known.shown)) return;
      known.shown = member;
    } else {
      topic.present.set(member.key, { lines: line, shown: member, sinceTime: Date.now() });
      this.count++;
    }
    this.#tell(topic, member.key);
  }

  /** A line that entered is closed. */
  leave(line: MemberLine): void {
    const { key } = line.member;
    const topic = this.#topics.get(line.topic);
    const known = topic?.present.get(key);
    if (!topic || !known) throw new Error(`a line that has left ${line.topic} leaves it again`);
    const others = without(known.lines, line);
    if (others) {
      known.lines = others;
      return;
    }
    topic.present.delete(key);
    this.count--;
    this.#tell(topic, key);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retry);
  }

  #tellAll(): void {
    for (const topic of this.#topics.values()) {
      for (const key of topic.present.keys()) topic.pending.add(key);
      this.#wait(topic);
    }
    this.#tellSome();
  }

  #topic(name: string): TopicMembers {
    let topic = this.#topics.get(name);
    if (!topic) {
      topic = { topic: name, present: new Map(), pending: new Set(), isInCall: false, hasChanged: false };
      this.#topics.set(name, topic);
    }
    return topic;
  }

  #tell(topic: TopicMembers, key: string): void {
    topic.pending.add(key);
    this.#wait(topic);
    this.#tellSome();
  }

  #wait(topic: TopicMembers): void {
    topic.hasChanged = true;
    if (topic.isInCall) return; // What comes meanwhile shares the next call.
    this.#failing.delete(topic);
    this.#waiting.add(topic);
  }

  #tellSome(): void {
    for (const topics of [this.#waiting, this.#failing])
      for (const topic of topics) {
        if (this.#isClosed || this.#calls >= callsMax || (this.#retry && topics === this.#failing)) return;
        topics.delete(topic);
        this.#call(topic);
      }
  }

  #call(topic: TopicMembers): void {
    const keys = [...topic.pending.values().take(presencePerCallMax)];
    for (const key of keys) topic.pending.delete(key);
    topic.isInCall = true;
    topic.hasChanged = false;
    this.#calls++;
    try {
      const refused = this.#deps.register.present(
        topic.topic,
        keys.map((key) => presenceOf(key, topic.present.get(key))),
      );
      if (!(refused instanceof Promise)) this.#told(topic, refused);
      else
        refused
          .then(
            (those) => this.#told(topic, those),
            (error) => this.#failed(topic, keys, error),
          )
          .then(() => this.#tellSome());
    } catch (error) {
      this.#failed(topic, keys, error);
    }
  }

  #told(topic: TopicMembers, refused: readonly RefusedMember[]): void {
    for (const { key, bound } of refused) this.#refuse(topic, key, bound);
    this.#called(topic);
    if (!this.#hasFailed || this.#failing.size > 0) return;
    this.#hasFailed = false;
    this.#deps.log.info({}, "the engine knows again who is here");
  }

  #failed(topic: TopicMembers, keys: readonly string[], error: unknown): void {
    if (this.#isClosed) return; // With its engine.
    if (!this.#hasFailed)
      this.#deps.log.warn({ err: error }, "the engine could not be told who is here: it is told again");
    this.#hasFailed = true;
    for (const key of keys) topic.pending.add(key);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#tellSome();
    }, retrySeconds * 1000).unref();
    this.#called(topic, topic.hasChanged ? this.#waiting : this.#failing);
  }

  /** @param next where it waits, if there is more to say */
  #called(topic: TopicMembers, next = this.#waiting): void {
    topic.isInCall = false;
    this.#calls--;
    if (topic.pending.size > 0) next.add(topic);
    else if (topic.present.size === 0) this.#topics.delete(topic.topic);
  }

  #refuse(topic: TopicMembers, key: string, bound: string): void {
    const error = new PresenceFull(topic.topic, bound);
    const lines: MemberLine[] = []; // All of them first: one that is closed leaves the list, and may take others with it.
    for (let line = topic.present.get(key)?.lines; line; line = line.nextOfMember) lines.push(line);
    for (const line of lines) line.refuse(error);
  }
}

const presenceOf = (key: string, present: PresentMember | undefined): Presence =>
  present
    ? {
        ...{ key, isHere: true, sinceTime: present.sinceTime },
        ...{ info: present.shown.info, issuedSeconds: present.shown.issuedSeconds },
      }
    : { key, isHere: false };

/** The lines of a member without one; undefined where it was the only one. */
function without(lines: MemberLine, line: MemberLine): MemberLine | undefined {
  const { nextOfMember } = line;
  line.nextOfMember = undefined;
  if (lines === line) return nextOfMember;
  let before = lines;
  while (before.nextOfMember && before.nextOfMember !== line) before = before.nextOfMember;
  before.nextOfMember = nextOfMember;
  return lines;
}
