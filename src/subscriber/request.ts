/** What the URL and headers of a request ask for that reads topics. */
import { malformed } from "../http/refusal.ts";
import type { RequestContext } from "../http/request-context.ts";
import { pollMessagesMax, pollWaitSecondsMax, requestedLengthMax } from "../settings/limits.ts";
import { nearest } from "../settings/nearest.ts";
import { faultOfTopicName, parsePlace, parseSince, type Since } from "../topic/message.ts";
import type { PollOptions } from "./poll.ts";

/** A topic to receive, and from where on. */
export interface TopicStart {
  readonly topic: string;
  /** Nothing means from now on. */
  readonly since: Since | undefined;
  /** `since` as it was written. */
  readonly requested: string;
}

/**
 * Splits at literal commas, then decodes once, then checks.
 * @param path what stands before the names
 * @throws {Refusal}
 */
export function readTopics(
  { pathname }: Pick<RequestContext, "pathname">,
  path: string,
  topicsMax: number,
): string[] {
  if (!pathname.startsWith(path)) throw malformed('A topic\'s name has no part "." or "..".');
  const names = pathname.slice(path.length).split(",");
  const topics = pathname.includes("%") ? names.map(decode) : names;
  if (topics.length > topicsMax) throw malformed(`At most ${topicsMax} topics go into one request.`);
  for (const topic of topics) {
    const fault = faultOfTopicName(topic);
    if (fault) throw malformed(fault);
  }
  for (let index = 1; index < topics.length; index++) {
    const topic = topics[index] as string;
    if (topics.indexOf(topic) < index) throw malformed(`The topic "${topic}" is named twice.`);
  }
  return topics;
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    throw malformed(`"${name}" is not percent-encoded UTF-8.`);
  }
}

/** The parameters of /topics and /presence, and the names under which clients send `Last-Event-ID` where they cannot set a header. */
const lastEventIdNames = ["lastEventId", "lastEventID", "last-event-id", "Last-Event-ID"] as const;
const parameterNames = [
  "since",
  "limit",
  "wait",
  "format",
  "end",
  "key",
  "member",
  "access_token",
  ...lastEventIdNames,
];

/** What is near to one of ours and has a meaning of its own: names of programs, and what defeats caches. */
const innocentNames: ReadonlySet<string> = new Set(["id", "at", "form", "rnd", "send", "number", "remember"]);

/**
 * A parameter that is ignored because of a typing error would lose messages in silence. All others stay ignored: proxies,
 * caches and programs add their own.
 * @throws {Refusal}
 */
export function requireNoMistypedParameter(context: RequestContext): void {
  if (context.search === "") return;
  for (const name of context.query.keys()) {
    if (parameterNames.includes(name) || innocentNames.has(name)) continue;
    const meant = nearest(name.toLowerCase(), parameterNames, name.length < 5 ? 1 : 2);
    if (meant !== undefined)
      throw malformed(`The parameter "${name}" is unknown here; ${meant} was probably meant.`);
  }
}

/**
 * Reads `Last-Event-ID`, or `?since=` where there is none, or the id in another parameter: event-source-polyfill and the
 * clients of Mercure return with `?lastEventId=` and without the header.
 * @throws {Refusal} for a malformed `since`; a strange Last-Event-ID asks for what no server has, and becomes a gap
 */
export function readTopicStarts({ request, query }: RequestContext, topics: readonly string[]): TopicStart[] {
  const header = request.headers.get("last-event-id");
  if (header) return readLastEventId(header, topics);
  const parameter = query.get("since");
  if (parameter === null) {
    const id = lastEventIdNames.map((name) => query.get(name)).find((value) => value);
    if (id) return readLastEventId(id, topics);
    return topics.map((topic) => ({ topic, since: undefined, requested: "" }));
  }
  const starts = readSince(parameter, topics);
  if (starts) return starts;
  const several =
    topics.length > 1
      ? `, one for each of the ${topics.length} topics with commas between ("-" for none)`
      : "";
  throw malformed(
    `since must be the id of a message, "all", "first", "last:N", a span such as 90s, 10m or 2h, or a time such as ` +
      `2026-11-24T17:30:00Z${several}.`,
  );
}

/**
 * One id per topic, as `id:` of an event stream carries them. Only ids count here: a header that is anything else is
 * strange for every topic, because which part belongs to which topic is then unknown.
 */
function readLastEventId(header: string, topics: readonly string[]): TopicStart[] {
  const ids = header.split(",");
  const positions = ids.map(parsePlace);
  const isStrange = ids.length !== topics.length || positions.includes(undefined);
  const requested = header.slice(0, requestedLengthMax);
  return topics.map((topic, index) => {
    const position = positions[index];
    if (isStrange || !position) return { topic, since: { kind: "unknown" }, requested };
    return { topic, since: { kind: "position", position }, requested: ids[index] ?? "" };
  });
}

/** What the query of a poll asks for. @throws {Refusal} */
export function readPollOptions({ query, pathname }: RequestContext): PollOptions {
  return {
    messagesMax: readWhole(query, "limit", 1, pollMessagesMax) ?? pollMessagesMax,
    waitSeconds: readWait(query),
    nextUrl: (cursor) => {
      const next = new URLSearchParams(query);
      next.delete("access_token"); // A token must not stand in a header that is logged.
      next.set("since", cursor);
      return `${pathname}?${next}`;
    },
  };
}

/** @throws {Refusal} */
export function readWait(query: URLSearchParams): number {
  const text = query.get("wait");
  const [, digits] = /^(\d{1,3})s$/.exec(text ?? "0s") ?? [];
  if (digits !== undefined && Number(digits) <= pollWaitSecondsMax) return Number(digits);
  throw malformed(`wait must be a time with its unit, from 0s to ${pollWaitSecondsMax}s.`);
}

function readWhole(query: URLSearchParams, name: string, least: number, most: number): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw malformed(`${name} must be a whole number from ${least} to ${most}.`);
}

/** A single value that is no id applies to all topics. */
function readSince(text: string, topics: readonly string[]): TopicStart[] | undefined {
  const given = text.split(",");
  const isForAll = given.length === 1 && parsePlace(text) === undefined;
  const values = isForAll ? topics.map(() => text) : given;
  if (values.length !== topics.length) return undefined;
  const now = Date.now();
  const starts: TopicStart[] = [];
  for (const [index, topic] of topics.entries()) {
    const requested = values[index] ?? "";
    const since = parseSince(requested, now);
    if (!since && requested !== "-") return undefined;
    starts.push({ topic, since, requested });
  }
  return starts;
}
