/**
 * The checker of acknowledged messages. It lives outside the server that may be killed, and compares what the server
 * acknowledged with what it shows afterwards.
 */
import { offsetOf, type ReceivedEvent } from "./topics.ts";

export class Acknowledged {
  /** Bodies by topic and id, in the order of acknowledgement. */
  readonly #bodies = new Map<string, Map<string, string>>();
  count = 0;

  /** @param body different for each message */
  add(topic: string, id: string, body: string): void {
    const ofTopic = this.#bodies.get(topic) ?? new Map<string, string>();
    this.#bodies.set(topic, ofTopic);
    const before = ofTopic.get(id);
    if (before !== undefined && before !== body)
      throw new Error(`${id} of ${topic} was given to "${before}" and to "${body}"`);
    ofTopic.set(id, body);
    this.count++;
  }

  /**
   * @param events everything that a topic retains, the oldest first
   * @throws unless each acknowledged message that is not older than the oldest event is there once, in order, in one epoch
   */
  check(topic: string, events: readonly ReceivedEvent[]): void {
    const ids = events.map(({ id }) => id);
    const epochs = new Set(ids.map((id) => id.slice(0, id.lastIndexOf("-"))));
    if (epochs.size !== 1) throw new Error(`${topic} has the epochs ${[...epochs]}`);
    const [firstId = ""] = ids;
    for (const [index, id] of ids.entries())
      if (offsetOf(id) !== offsetOf(firstId) + index) throw new Error(`after ${ids[index - 1]} came ${id}`);
    const shown = new Map(events.map(({ id, data }) => [id, String(data)]));
    if (new Set(shown.values()).size !== shown.size) throw new Error(`${topic} has a message twice`);
    for (const [id, body] of this.#bodies.get(topic) ?? []) {
      if (!epochs.has(id.slice(0, id.lastIndexOf("-")))) throw new Error(`${id} is of an epoch that is gone`);
      if (offsetOf(id) >= offsetOf(firstId) && shown.get(id) !== body)
        throw new Error(`${id} was acknowledged as "${body}" and is "${shown.get(id)}"`);
    }
  }
}
