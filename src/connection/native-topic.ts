/** The sockets that are live on one topic in one form. One publish to a native topic of Bun reaches them all. */
import type { Subscription } from "../topic/subscription.ts";
import type { Socket } from "./connection.ts";
import { LiveList } from "./live-list.ts";
import type { SlicedDelivery, TimedFrame } from "./sliced-delivery.ts";
import { UnsentLimit } from "./unsent-limit.ts";

/** A native topic carries the same bytes to all its sockets, so each form has its own. */
export type SocketForm = "raw" | "cloudevents";

export class NativeTopic {
  readonly #live = new LiveList<Socket>();
  /** Set from the first message that did not fit into memory at once. */
  #sliced: SlicedDelivery | undefined;

  /** Of each of its sockets. */
  readonly limit: UnsentLimit;

  /**
   * @param name Bun's name for it
   * @param bufferedBytesMax unsent bytes that a socket may hold
   * @param checkedAtBytes how much fan-out had published when the sockets were last checked against the limit
   */
  constructor(
    readonly name: string,
    bufferedBytesMax: number,
    public checkedAtBytes: number,
  ) {
    this.limit = new UnsentLimit(bufferedBytesMax);
  }

  get size(): number {
    return this.#live.size;
  }

  /** True while messages wait that must come before the next one. */
  get isBusy(): boolean {
    return this.#sliced?.isBusy ?? false;
  }

  /** Gives a frame to the sockets one by one. @param begin makes the delivery at the first such frame */
  deliverSliced(frame: TimedFrame, begin: () => SlicedDelivery): void {
    this.#sliced ??= begin();
    this.#sliced.push(frame);
  }

  /** Sockets may be removed meanwhile. */
  sockets(): Iterable<Socket> {
    return this.#live;
  }

  add(socket: Socket, subscription: Subscription): void {
    this.#sliced?.join(socket);
    this.#live.add(socket, subscription);
    socket.subscribe(this.name);
  }

  /** Takes a closed socket off. Bun has unsubscribed it by itself. @param subscription of the socket; live or not */
  delete(subscription: Subscription): void {
    this.#live.delete(subscription);
  }

  /**
   * Unsubscribes all sockets. One that waits for a message is cut: after the detachment it would never get that message.
   * @returns the subscriptions of the others
   */
  detach(): Subscription[] {
    for (const socket of this.#live) if (this.#sliced?.owes(socket)) socket.terminate();
    for (const socket of this.#live) socket.unsubscribe(this.name);
    return this.#live.clear();
  }
}
