/** What to subscribe to, as chosen in the form. A link to the page carries it: `/#topics=news,sport&form=sse&since=all`. */
import { isOneOf, isText, stored } from "../ground/settings.ts";
import { faultOfTopicName, type TopicNameFault } from "./topic-name.ts";

/** `cloudevents` and `raw` are WebSockets, `sse` is an event stream. */
export type Form = "cloudevents" | "raw" | "sse";

export const forms: readonly Form[] = ["cloudevents", "raw", "sse"];

export interface Choice {
  readonly topics: readonly string[];
  readonly form: Form;
  /** The `since` of the first connection; empty for from now on. */
  readonly since: string;
  /** The name under which others see the line; empty for none. It is in no link: two people would have the same one. */
  readonly member: string;
}

export const topicsText = stored("topics", "news", isText);
export const form = stored<Form>("form", "cloudevents", isOneOf(...forms));
export const since = stored("since", "", isText);

export type ChoiceFault = TopicNameFault | "several" | "rawSeveral";

/** The names in the field, without the spaces around them. */
export function topicNames(text: string): readonly string[] {
  return text.split(/[,，]/).map((name) => name.trim().normalize("NFC"));
}

/** @returns why the server would refuse it, or undefined */
export function faultOfChoice(text: string, form: Form): ChoiceFault | undefined {
  const names = topicNames(text);
  const fault = names.map(faultOfTopicName).find((fault) => fault !== undefined);
  if (fault) return fault;
  if (new Set(names).size < names.length) return "several";
  return form === "raw" && names.length > 1 ? "rawSeveral" : undefined;
}

export function linkOf({ topics, form, since }: Choice): string {
  const parts = [`topics=${topics.map(encodeURI).join(",")}`];
  if (form !== "cloudevents") parts.push(`form=${form}`);
  if (since !== "") parts.push(`since=${encodeURIComponent(since)}`);
  return `#${parts.join("&")}`;
}

/** Takes the choice of the page's address over. @returns whether it has one */
export function readLink(): boolean {
  const values = new URLSearchParams(location.hash.slice(1));
  const topics = values.get("topics");
  if (topics === null) return false;
  topicsText.value = topics;
  const wanted = values.get("form") ?? "cloudevents";
  form.value = forms.find((known) => known === wanted) ?? "cloudevents";
  since.value = values.get("since") ?? "";
  return true;
}
