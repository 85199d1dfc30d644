/** POST /topics/…: the body becomes a message of each topic in the URL, or, of one topic, one message for each event. */
import type { Body } from "../../http/content-coding.ts";
import { malformed, Refusal, refusalOf, retryAfter } from "../../http/refusal.ts";
import { brokerRetrySeconds, idempotencyKeyBytesMax } from "../../settings/limits.ts";
import { type Appended, BrokerUnavailable, type Condition } from "../../topic/broker.ts";
import { type Draft, draftOf, essenceOf, SharedData } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { keyed } from "../../topic/key.ts";
import { dataBytes, formatId, retainedBytes } from "../../topic/message.ts";
import { attributesOfHeaders, requireEnvelope } from "../../wire/event-headers.ts";
import { ItemSizeError } from "../../wire/item-size.ts";
import { draftOfEvent, parseEvent, splitBatch } from "../../wire/json-event.ts";
import { ItemPublisher, stepsOf } from "./item-publisher.ts";
import { type PublishTarget, stamped } from "./publish-target.ts";

interface PublishedEntry {
  readonly topic: string;
  /** The message's id, or that of the topic's end where the request ended it. */
  readonly id: string;
  /** The id of the message, where `id` is that of the end. */
  readonly message?: string;
}

/** What publishing needs of the server. */
export interface PublishDeps {
  readonly hub: Hub;
  readonly messageBytesMax: number;
  /** What several messages of one request may add to the history. */
  readonly requestBytesMax: number;
  /** As for `stepsOf`. */
  readonly stepBytesMax: number;
}

/** What a request asks for beside its body. */
interface Posted {
  readonly topics: readonly string[];
  /** One for each of `topics`. */
  readonly targets: readonly PublishTarget[];
  readonly contentType: string | undefined;
  /** Whether the topics are to end after the message. */
  readonly ends: boolean;
  /** Its `Idempotency-Key`. */
  readonly idempotencyKey: string | undefined;
  /** Its `?key=`, for keyed topics. */
  readonly key: string | undefined;
  /** What the key must be like, for one message of one keyed topic. */
  readonly condition: Condition | undefined;
}

/**
 * @param body decoded
 * @throws {DraftError} for a body that its type does not allow
 * @throws {Refusal}
 */
export function publishBody(
  request: Request,
  body: Body,
  posted: Posted,
  deps: PublishDeps,
): Response | Promise<Response> {
  const { targets, contentType, ends } = posted;
  if (!body) throw new ItemSizeError(deps.messageBytesMax);
  const essence = contentType && essenceOf(contentType);
  if (essence === "application/cloudevents-batch+json")
    return publishBatch(batchOf(body, posted, deps), posted, deps);
  const read = ends && body.length === 0 ? undefined : draftOfBody(request.headers, body, essence, posted);
  if (!read) requireNoKey(posted);
  const draft = read && targets.length > 1 ? forSeveral(read, targets.length, deps) : read;
  return publishDraft(draft && withKeys(draft, posted, deps.hub), posted, deps.hub);
}

/** The end of a topic has no key, and what is asked of one must not be passed over. @throws {Refusal} */
function requireNoKey({ key, condition }: Posted): void {
  if (key !== undefined || condition)
    throw malformed("?key=, If-Match and If-None-Match are for a message, and this request has none.");
}

/** Each topic on its own: what was published stays published, and the answer lists it. @throws {Refusal} */
export function publishDraft(
  draft: Draft | undefined,
  posted: Posted,
  hub: Hub,
): Response | Promise<Response> {
  const outcomes: (TopicOutcome | Promise<TopicOutcome>)[] = [];
  for (const target of posted.targets) outcomes.push(publishTo(target, draft, posted, hub));
  return outcomes.some(isAwaited)
    ? Promise.all(outcomes).then(answerOf)
    : answerOf(outcomes as TopicOutcome[]);
}

/** The draft with its key, if one of the topics is keyed. @throws {DraftError} */
function withKeys(draft: Draft, { topics, key }: Posted, hub: Hub): Draft {
  const topic = topics.find(hub.isKeyed);
  return topic === undefined ? draft : keyed(draft, key, topic);
}

/** What became of the publication to one topic. */
type TopicOutcome = PublishedEntry | Unpublished;

const isAwaited = (outcome: unknown): boolean => outcome instanceof Promise;

function publishTo(
  { topic, sender }: PublishTarget,
  draft: Draft | undefined,
  { ends, idempotencyKey, condition }: Posted,
  hub: Hub,
): TopicOutcome | Promise<TopicOutcome> {
  const once = idempotencyKey === undefined ? undefined : { key: idempotencyKey, publisher: sender.name };
  const drafts = draft ? [stamped(draft, sender)] : [];
  try {
    const appended = hub.publish(topic, { drafts, end: ends, once, condition });
    return appended instanceof Promise ? publishedLater(topic, appended) : publishedAs(topic, appended);
  } catch (error) {
    return new Unpublished(error);
  }
}

async function publishedLater(topic: string, appending: Promise<Appended>): Promise<TopicOutcome> {
  try {
    return publishedAs(topic, await appending);
  } catch (error) {
    return new Unpublished(error);
  }
}

/** @throws {Refusal} if a topic was not published to */
function answerOf(outcomes: readonly TopicOutcome[]): Response {
  if (!outcomes.some(isUnpublished)) return Response.json({ published: outcomes });
  throw refusalOfPublication(
    outcomes.filter(isUnpublished).map(({ error }) => error),
    outcomes.filter((outcome) => !isUnpublished(outcome)),
  );
}

/** Why a topic was not published to. */
class Unpublished {
  constructor(readonly error: unknown) {}
}

const isUnpublished = (outcome: TopicOutcome): outcome is Unpublished => outcome instanceof Unpublished;

function publishedAs(topic: string, { message, end }: Appended): PublishedEntry {
  if (!end) return { topic, id: message ? formatId(message) : "" };
  return { topic, id: formatId(end), ...(message && { message: formatId(message) }) };
}

/** CloudEvents HTTP protocol binding: structured mode by its content type, binary mode for every other. */
function draftOfBody(
  headers: Headers,
  body: Uint8Array<ArrayBuffer>,
  essence: string | undefined,
  { topics, contentType }: Posted,
): Draft {
  if (essence === "application/cloudevents+json") return draftOfJsonEvent(textOf(body), topics);
  const draft = draftOf(body, contentType);
  const attributes = attributesOfHeaders(headers, topics);
  return attributes ? { ...draft, attributes } : draft;
}

function draftOfJsonEvent(text: string, topics: readonly string[]): Draft {
  const event = parseEvent(text);
  requireEnvelope(event, topics);
  return draftOfEvent(text, event);
}

/** The same draft for several topics, whose messages share its data. @throws {Refusal} */
function forSeveral(draft: Draft, topics: number, { hub, requestBytesMax }: PublishDeps): Draft {
  const bytes = dataBytes(draft.data);
  const ownBytes = retainedBytes(draft) - bytes;
  requireShare(topics * ownBytes + (hub.sharesData ? bytes : topics * bytes), requestBytesMax);
  return { ...draft, shared: new SharedData(bytes) };
}

/** @throws {Refusal} for messages that together would push out too much of the others' history */
function requireShare(bytes: number, bytesMax: number): void {
  if (bytes <= bytesMax) return;
  const detail =
    `The messages of one request add at most ${bytesMax} bytes to the history, a quarter of --history-bytes; ` +
    `these would add ${bytes}. Publish in several requests.`;
  throw new Refusal("message_size", detail);
}

/** All events are read before the first is published. @throws {DraftError} */
function batchOf(body: Uint8Array<ArrayBuffer>, posted: Posted, { hub }: PublishDeps): Draft[] {
  const { topics, condition } = posted;
  if (topics.length !== 1) throw malformed("A batch of events is published to one topic.");
  if (condition) throw malformed("If-Match and If-None-Match are for one event, and this is a batch.");
  return splitBatch(textOf(body)).map((text) => withKeys(draftOfJsonEvent(text, topics), posted, hub));
}

const textOf = (body: Uint8Array<ArrayBuffer>): string => draftOf(body, undefined).data as string;

async function publishBatch(
  drafts: readonly Draft[],
  { targets, idempotencyKey, ends }: Posted,
  { hub, requestBytesMax, stepBytesMax }: PublishDeps,
): Promise<Response> {
  const [target] = targets as [PublishTarget];
  if (drafts.length > 1) {
    const bytes = drafts.reduce((sum, draft) => sum + retainedBytes(draft), 0);
    requireShare(bytes, requestBytesMax);
  }
  const items = new ItemPublisher(hub, target, idempotencyKey);
  try {
    await items.begin();
    for await (const step of stepsOf(drafts, stepBytesMax)) await items.publish(step);
    await items.finish(ends);
  } catch (error) {
    throw refusalOfPublication([error], [items.published]);
  }
  return Response.json({ published: [items.published] });
}

/**
 * The refusal of a publication that failed. 503 only where repeating can help.
 * @param published what was published of it
 * @returns an error that no code foresaw as it is
 */
export function refusalOfPublication(failed: readonly unknown[], published: readonly object[]): unknown {
  const refusals = failed.map(refusalOf);
  const unforeseen = refusals.indexOf(undefined);
  if (unforeseen >= 0) return failed[unforeseen];
  const isUnknown = failed.some((error) => error instanceof BrokerUnavailable);
  return (isUnknown ? unknownOutcome : refusals[0])?.with({ published });
}

const unknownOutcome = new Refusal(
  "unavailable",
  "Not everything could be published, and whether the rest was is unknown. Repeat with the same Idempotency-Key.",
  retryAfter(brokerRetrySeconds),
);

/** The header's value, with or without the quotes of a structured field (draft-ietf-httpapi-idempotency-key-header). */
export function readIdempotencyKey(request: Request): string | undefined {
  const header = request.headers.get("idempotency-key");
  if (header === null) return undefined;
  const key = /^"(.*)"$/.exec(header)?.[1] ?? header;
  if (key.length > 0 && Buffer.byteLength(key) <= idempotencyKeyBytesMax) return key;
  throw malformed(`An Idempotency-Key has 1 to ${idempotencyKeyBytesMax} bytes.`);
}
