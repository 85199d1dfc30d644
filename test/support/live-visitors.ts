/** The live subscribers of a topic, in tests that need no delivery. */
import type { Message } from "../../src/topic/message.ts";
import type { LiveSubscribers, Subscription } from "../../src/topic/subscription.ts";

/** What is live. */
export interface LiveVisitor {
  deliver(message: Message): void;
}

export class LiveVisitors<Visitor extends LiveVisitor> implements LiveSubscribers {
  readonly #live = new Map<Subscription, Visitor>();
  /** Set by a test in which messages wait for subscribers. */
  room: Promise<void> | undefined;
  isFull = false;
  isLagging = false;

  add(subscription: Subscription, visitor: Visitor): void {
    this.#live.set(subscription, visitor);
  }

  remove(subscription: Subscription): void {
    this.#live.delete(subscription);
  }

  deliver(message: Message): void {
    for (const [subscription, visitor] of [...this.#live])
      if (this.#live.has(subscription)) visitor.deliver(message);
  }

  visitors(): Iterable<Visitor> {
    return this.#live.values();
  }

  detach(): readonly Subscription[] {
    const subscriptions = [...this.#live.keys()];
    this.#live.clear();
    return subscriptions;
  }
}
