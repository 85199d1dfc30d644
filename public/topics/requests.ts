/** Topics over HTTP: publishing and reading positions need no line. */
import { nextToPage } from "../ground/address.ts";
import { ask, Refusal } from "../ground/requests.ts";
import type { Words } from "../words/english.ts";
import { headerOf } from "./commands.ts";

export function topicsUrl(topics: readonly string[], query: Readonly<Record<string, string>> = {}): URL {
  const url = nextToPage(`topics/${topics.map(pathOf).join(",")}`);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url;
}

export const presenceUrl = (topic: string): URL => nextToPage(`presence/${pathOf(topic)}`);

/** Each part of a name is encoded, the slashes are not. */
const pathOf = (topic: string): string => topic.split("/").map(encodePart).join("/");

const encodePart = (part: string): string => encodeURIComponent(part).replaceAll("%3A", ":");

export interface Publication {
  readonly topics: readonly string[];
  readonly body: string | ArrayBuffer;
  readonly contentType: string;
  /** CloudEvents attributes by name; empty values are not sent. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Whether the topics end after the message. */
  readonly ends: boolean;
}

/**
 * @returns the id of the message on each topic
 * @throws {Refusal} for an answer other than 200; else what `fetch` throws, and then the outcome is unknown
 */
export async function publish(publication: Publication): Promise<ReadonlyMap<string, string>> {
  const { topics, body, contentType, attributes, ends } = publication;
  const headers = new Map([["Content-Type", contentType]]);
  for (const [name, value] of Object.entries(attributes))
    if (value !== "")
      headers.set(headerOf(name), name.startsWith("trace") ? value : encodeURIComponent(value));
  const { published } = await ask<{ published: readonly { topic: string; id: string; message?: string }[] }>(
    topicsUrl(topics, ends ? { end: "" } : {}),
    { method: "POST", headers: Object.fromEntries(headers), body },
  );
  return new Map(published.map(({ topic, id, message }) => [topic, message ?? id]));
}

export interface TopicInfo {
  readonly topic: string;
  readonly position: string | null;
  readonly retained: number;
  readonly subscribers: number;
}

/** @throws like `publish` */
export async function inspect(topics: readonly string[]): Promise<readonly TopicInfo[]> {
  return (await ask<{ topics: readonly TopicInfo[] }>(topicsUrl(topics))).topics;
}

/** Such as `413: The body is too large`, or that the server did not answer. */
export function describeFailure(error: unknown, words: Words): string {
  return error instanceof Refusal ? `${error.status}: ${words.reason(error.detail)}` : words.noAnswer;
}
