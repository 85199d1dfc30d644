/** Publishes messages in the order they were sent, and shows in the log what became of each. */
import { Refusal } from "../ground/requests.ts";
import { words } from "../ground/words.ts";
import type { Entry } from "../log/entry.ts";
import type { Flow } from "./flow.ts";
import { describeFailure, type Publication, publish } from "./requests.ts";
import type { Subscription } from "./subscription.ts";

export class Publisher {
  readonly #subscription: Subscription;
  readonly #flow: Flow;
  /** Resolves when every earlier message is answered. */
  #previous = Promise.resolve();

  constructor(subscription: Subscription, flow: Flow) {
    this.#subscription = subscription;
    this.#flow = flow;
  }

  /** @returns whether it was published, once that is known */
  async publish(publication: Publication): Promise<boolean> {
    const { topics, body, contentType, attributes } = publication;
    const { log } = this.#subscription;
    const followed = this.#subscription.choice.peek().topics;
    const isElsewhere = topics.join() !== followed.join();
    const { type, ...others } = attributes;
    const entry = log.add({
      kind: "sent",
      time: Date.now(),
      data: body,
      ...(isElsewhere ? { topic: topics.join(", ") } : {}),
      ...(type ? { type } : {}),
      ...(contentType === "text/plain" ? {} : { contentType }),
      ...(Object.keys(others).length > 0 ? { attributes: others } : {}),
    });
    const previous = this.#previous;
    const result = previous.then(() => this.#send(publication, entry));
    this.#previous = result.then(() => undefined);
    return result;
  }

  async #send(publication: Publication, entry: Entry): Promise<boolean> {
    const { log, proof } = this.#subscription;
    const { attributes } = publication;
    try {
      const ids = await publish(publication);
      for (const [topic, id] of ids) {
        entry.id ??= id;
        // A reader of a keyed topic that comes back gets the last message of each key, and not those that it replaced.
        if (attributes.partitionkey === undefined) proof.published(topic, id);
        const isFollowed = this.#subscription.choice.peek().topics.includes(topic);
        if (this.#flow.isCut.peek() && isFollowed) this.#flow.kept();
      }
      log.changed();
      return true;
    } catch (error) {
      // A fault of the server can come before the message is kept, or after.
      const isRefused = error instanceof Refusal && error.status < 500;
      const say = words.peek();
      entry.failure = isRefused ? say.refused : say.unknown;
      const note = isRefused ? say.notPublished : say.perhapsPublished;
      log.note(note(describeFailure(error, say)), "error");
      return false;
    }
  }
}
