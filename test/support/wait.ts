/** Waits for events, never for time to pass: each wait ends at its event, or fails at its deadline. */
import { realTime, type Time } from "./time.ts";

/** The outer bound of a wait that should take milliseconds. Generous, because the machine may be busy. */
const deadlineSeconds = 30;

/** @param what completes the error message "waited … s for" */
export async function within<Value>(
  promise: Promise<Value>,
  what: string,
  seconds = deadlineSeconds,
  time: Time = realTime,
): Promise<Value> {
  const deadline = Promise.withResolvers<never>();
  const stop = time.setTimer(seconds * 1000, () =>
    deadline.reject(new Error(`waited ${seconds} s for ${what}`)),
  );
  try {
    return await Promise.race([promise, deadline.promise]);
  } finally {
    stop();
  }
}

/** Polls a condition that has no event, such as the memory of another process. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  seconds = deadlineSeconds,
  time: Time = realTime,
): Promise<void> {
  const deadline = time.now() + seconds * 1000;
  while (!(await holds())) {
    if (time.now() > deadline) throw new Error(`waited ${seconds} s for ${what}`);
    await new Promise<void>((resolve) => time.setTimer(20, resolve));
  }
}

/** A queue: items that arrive before they are taken wait here, in order. */
export class Inbox<Item> {
  readonly #items: Item[] = [];
  readonly #takers: PromiseWithResolvers<Item>[] = [];
  #failure: Error | undefined;

  put(item: Item): void {
    const taker = this.#takers.shift();
    if (taker) taker.resolve(item);
    else this.#items.push(item);
  }

  /** Nothing more arrives: present and later waits fail. Items that had arrived can still be taken. */
  end(failure: Error): void {
    this.#failure ??= failure;
    for (const taker of this.#takers.splice(0)) taker.reject(this.#failure);
  }

  take(what: string, seconds?: number): Promise<Item> {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift() as Item);
    if (this.#failure) return Promise.reject(this.#failure);
    const taker = Promise.withResolvers<Item>();
    this.#takers.push(taker);
    return within(taker.promise, what, seconds);
  }

  /** The items that arrived and were not taken. */
  get waiting(): readonly Item[] {
    return this.#items;
  }
}
