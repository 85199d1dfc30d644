/** Feeds: what is published to the topics of a pattern is also appended to one more topic, in the same step. */
import type { Draft } from "./draft.ts";
import { isRemoval } from "./key.ts";
import { matchesTopic } from "./message.ts";
import { isPresenceTopic } from "./presence.ts";

/** What is published to topics that match the pattern also goes to the topic. */
export interface Feed {
  /** A topic's name, or a prefix that ends in `*`. */
  readonly pattern: string;
  readonly topic: string;
}

/** Topics that one publication goes to beside its own: each is one more append. */
export const feedsOfTopicMax = 4;

export const isFeed = (feeds: readonly Feed[], topic: string): boolean =>
  feeds.some((feed) => feed.topic === topic);

/** Of most publications: they make none of their own. */
const noFeeds: readonly string[] = [];

/** The feeds of a topic. A feed itself has none, and who is here goes into none. */
export function feedsOf(feeds: readonly Feed[], topic: string): readonly string[] {
  if (feeds.length === 0 || isFeed(feeds, topic) || isPresenceTopic(topic)) return noFeeds;
  const found = feeds.filter(({ pattern }) => matchesTopic([pattern], topic));
  return [...new Set(found.map((feed) => feed.topic))];
}

/**
 * What a feed gets of an entry of another topic: all of a message, and in the place of a removal or an end what says so, since
 * a reader of the feed must neither forget a key nor stop. The engine adds `originid`, the entry's id there.
 * @param entry undefined for the end of the origin
 */
export function fedDraft(entry: Draft | undefined, origin: string): Draft {
  if (!entry) return noticeOf("longwire.origin.end", { topic: origin }, { origin });
  const { attributes } = entry;
  if (!isRemoval(entry)) return { ...entry, attributes: { ...attributes, origin } };
  const { type: _, partitionkey, ...stamp } = attributes ?? {};
  return noticeOf("longwire.origin.removed", { topic: origin, key: partitionkey }, { ...stamp, origin });
}

const noticeOf = (type: string, data: object, attributes: Draft["attributes"]): Draft => ({
  data: JSON.stringify(data),
  contentType: "application/json",
  attributes: { ...attributes, type },
});
