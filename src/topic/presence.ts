/**
 * Presence: who has a line on a topic. Its members are a keyed topic of the server's own, which no URL can name and nobody
 * publishes to: a join is a value, leaving is its removal, and whoever reads it gets a snapshot, then the changes.
 */
import type { Draft } from "./draft.ts";
import { removalOf } from "./key.ts";

const prefix = "!presence/";

/** The topic that has the members of a topic. */
export const presenceTopicOf = (topic: string): string => prefix + topic;

export const isPresenceTopic = (name: string): boolean => name.startsWith(prefix);

/** The topic whose members a presence topic has; of every other topic its own name. This is what clients are shown. */
export const shownTopic = (name: string): string =>
  isPresenceTopic(name) ? name.slice(prefix.length) : name;

/** Whom the lines of a client stand for. */
export interface Member {
  /** As `faultOfKey` has it. */
  readonly key: string;
  /** What others may see of it, as JSON: `true`, or an object of at most `memberInfoBytesMax`. */
  readonly info: string;
  /** When the token with this info was issued, in seconds since 1970 (RFC 7519 section 4.1.6); 0 where it does not say. */
  readonly issuedSeconds: number;
}

/** Each reader of a topic is sent the info of each of its members. */
export const memberInfoBytesMax = 1024;

/** What a node says of a member: what is so, and not what has changed, so that a repetition changes nothing. */
export type Presence = MemberHere | MemberGone;

/** It has a line on the node. */
export interface MemberHere extends Member {
  readonly isHere: true;
  /** Since when, in milliseconds since 1970. */
  readonly sinceTime: number;
}

/** It has none. */
export interface MemberGone {
  readonly key: string;
  readonly isHere: false;
}

/**
 * The part of an engine that knows who is here. The topic that has the members MUST have a member while a living node says that
 * the member has a line, and for the grace after the last one was gone. A second line, and a return within the grace, MUST NOT
 * be entries. What a dead node has said MUST NOT count for longer than its lease and the grace.
 */
export interface PresenceRegister {
  /**
   * Says which members of a topic have a line on this node, at most `presencePerCallMax`. Calls for one topic MUST NOT overlap.
   * A register in this process answers at once. MUST settle within 3 s.
   * @param topic the one that they are on; its members are in `presenceTopicOf(topic)`
   * @returns those that are not taken in, because the topic has as many members as it may
   * @throws {BrokerUnavailable} where it is unknown what was taken in
   */
  present(
    topic: string,
    members: readonly Presence[],
  ): readonly RefusedMember[] | Promise<readonly RefusedMember[]>;

  /**
   * Sets what is called when nothing of what this node has said counts any more, and all of it is to be said again. Called once,
   * before anything else.
   */
  onForgotten(forgotten: () => void): void;
}

/** A member that a topic does not take in. */
export interface RefusedMember {
  readonly key: string;
  /** The bound that is reached, in words that continue a sentence, with the setting's name. */
  readonly bound: string;
}

/** The bound of `--presence-members`, as `RefusedMember` has it. */
export const boundOfMembers = (membersMax: number): string =>
  `it has ${membersMax}, and that is --presence-members`;

/** A topic has as many members as it may, and this one more was not taken in. */
export class PresenceFull extends Error {
  override readonly name = "PresenceFull";

  /** @param bound in words that continue a sentence, with the setting's name */
  constructor(
    readonly topic: string,
    readonly bound: string,
  ) {
    super(`The topic ${topic} takes no further member: ${bound}.`);
  }
}

/** Members in one call of `PresenceRegister.present`: so many take Redis about 1 ms, in which it serves nobody else. */
export const presencePerCallMax = 100;

/** Whether the info of one token counts where a member has another's, too: that of the token issued last, then the greater text. */
export const outranks = (one: Omit<Member, "key">, other: Omit<Member, "key">): boolean =>
  one.issuedSeconds > other.issuedSeconds ||
  (one.issuedSeconds === other.issuedSeconds && one.info > other.info);

export const joined = (key: string, info: string, sinceTime: number): Draft =>
  noticeOf("longwire.join", key, info, sinceTime);

export const updated = (key: string, info: string, sinceTime: number): Draft =>
  noticeOf("longwire.update", key, info, sinceTime);

export const left = removalOf;

const noticeOf = (type: string, partitionkey: string, info: string, sinceTime: number): Draft => ({
  data: `{"member":${info},"since":"${new Date(sinceTime).toISOString()}"}`,
  contentType: "application/json",
  attributes: { type, partitionkey },
});
