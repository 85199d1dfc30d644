/** CloudEvents 1.0 in JSON: messages, and the control events of a connection. */
import { type Attributes, messageType } from "../topic/attributes.ts";
import { isJson } from "../topic/draft.ts";
import { isRemoval } from "../topic/key.ts";
import { type End, formatId, formatPlace, type Message, type Place } from "../topic/message.ts";
import { isPresenceTopic, shownTopic } from "../topic/presence.ts";
import type { Gap, Replayed } from "../topic/subscription.ts";

/**
 * The `source` of a topic's messages: the path at which clients read them.
 * @param prefix before all paths of the server, such as `/realtime`
 */
export const sourceOf = (topic: string, prefix: string): string =>
  `${prefix}/${isPresenceTopic(topic) ? "presence" : "topics"}/${encodeURI(shownTopic(topic))}`;

/**
 * A message as one CloudEvent. JSON data is spliced in as it was published, so numbers and spaces do not change.
 * @param prefix as for `sourceOf`
 */
export function cloudEvent(message: Message, prefix: string): string {
  const { topic, contentType, attributes, data, time } = message;
  const type = attributes?.type;
  return (
    `{"specversion":"1.0","type":${type === undefined ? `"${messageType}"` : JSON.stringify(type)},` +
    `"source":"${sourceOf(topic, prefix)}","id":"${formatId(message)}",` +
    `"topic":"${shownTopic(topic)}","time":"${new Date(time).toISOString()}"${attributes ? attributeMembers(attributes) : ""}` +
    // What takes a key away has no data (CloudEvents 1.0, section "Event Data").
    `${isRemoval(message) ? "" : `,"datacontenttype":${JSON.stringify(contentType)},${dataMember(contentType, data)}`}}`
  );
}

/** Each member with the comma before it. */
function attributeMembers(attributes: Attributes): string {
  let members = "";
  for (const name in attributes) {
    if (name !== "type") members += `,"${name}":${JSON.stringify(attributes[name])}`;
  }
  return members;
}

function dataMember(contentType: string, data: Message["data"]): string {
  if (typeof data !== "string") return `"data_base64":"${data.toBase64()}"`;
  return `"data":${isJson(contentType) ? data : JSON.stringify(data)}`;
}

/** Where one topic of a connection begins. */
export interface OpenedTopic {
  readonly topic: string;
  /** The id to store from here on. Never ahead of what the client was told: a gap that follows moves it, nothing else. */
  readonly openId: string;
  readonly resumed: boolean;
  /** Everything retained was asked for, and messages before it are gone. */
  readonly isTrimmed: boolean;
  /** Where it begins. */
  readonly from: Place;
}

/** The `data` of `longwire.open`. */
export const openData = (topics: readonly OpenedTopic[]): object => ({
  topics: topics.map(({ topic, openId, resumed, isTrimmed, from }) => ({
    topic: shownTopic(topic),
    id: openId,
    resumed,
    base: from.base,
    trimmed: isTrimmed || undefined, // JSON leaves undefined out.
  })),
});

/** The `data` of `longwire.gap`. */
export const gapData = ({ topic, requested, from }: Gap): object => ({
  topic: shownTopic(topic),
  requested,
  from: formatPlace(from),
  base: from.base,
});

/** The `data` of `longwire.live`. */
const liveData = ({ topic, at, isWhole }: Replayed): object => ({
  topic: shownTopic(topic),
  id: formatId(at),
  whole: isWhole,
});

/** The `data` of `longwire.end` in the plain event stream, which has no attributes. */
export const endData = ({ topic, ...position }: End): object => ({ topic, id: formatId(position) });

/** Events about one connection, from the source `/connections/<random>`. Their ids count from 1, but an end has its own. */
export class ControlEvents {
  readonly #source = `/connections/${crypto.randomUUID()}`;
  #count = 0;

  open(topics: readonly OpenedTopic[]): string {
    return this.#event("longwire.open", openData(topics));
  }

  gap(gap: Gap): string {
    return this.#event("longwire.gap", gapData(gap));
  }

  live(replayed: Replayed): string {
    return this.#event("longwire.live", liveData(replayed));
  }

  /** Like a message it has its topic and its id there, so that a client stores the id as it stores that of a message. */
  end(end: End): string {
    return JSON.stringify({
      specversion: "1.0",
      type: "longwire.end",
      source: this.#source,
      id: formatId(end),
      topic: end.topic,
      time: new Date(end.time).toISOString(),
    });
  }

  pong(): string {
    return this.#event("longwire.pong");
  }

  close(code: number, reason: string): string {
    return this.#event("longwire.close", { code, reason });
  }

  #event(type: string, data?: object): string {
    const id = String(++this.#count);
    const time = new Date().toISOString();
    const attributes = { specversion: "1.0", type, source: this.#source, id, time };
    return JSON.stringify(
      data === undefined ? attributes : { ...attributes, datacontenttype: "application/json", data },
    );
  }
}
