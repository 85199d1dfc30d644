/** The sockets that are live on one topic in one form. One publish to a native topic of Bun reaches them all. */
import type { Subscription } from "../topic/subscription.ts";
import type { Socket } from "./connection.ts";
import type { Frame, SlicedDelivery } from "./sliced-delivery.ts";
import { UnsentLimit } from "./unsent-limit.ts";

/** A native topic carries the same bytes to all its sockets, so each form has its own. */
export type SocketForm = "raw" | "cloudevents";

export class NativeTopic {
  /** Kept apart, because most topics have one socket, and a Map for one takes 260 bytes. */
  #first: { readonly socket: Socket; readonly subscription: Subscription } | undefined;
  #others: Map<Socket, Subscription> | undefined;
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
    return (this.#first ? 1 : 0) + (this.#others?.size ?? 0);
  }

  /** True while messages wait that must come before the next one. */
  get isBusy(): boolean {
    return this.#sliced?.isBusy ?? false;
  }

  /** Gives a frame to the sockets one by one. @param begin makes the delivery at the first such frame */
  deliverSliced(frame: Frame, begin: () => SlicedDelivery): void {
    this.#sliced ??= begin();
    this.#sliced.push(frame);
  }

  /** Sockets may be removed meanwhile. */
  *sockets(): Iterable<Socket> {
    if (this.#first) yield this.#first.socket;
    if (this.#others) yield* this.#others.keys();
  }

  add(socket: Socket, subscription: Subscription): void {
    this.#sliced?.join(socket);
    if (this.size === 0) this.#first = { socket, subscription };
    else {
      this.#others ??= new Map();
      this.#others.set(socket, subscription);
    }
    socket.subscribe(this.name);
  }

  /** Takes a closed socket off. Bun has unsubscribed it by itself. */
  delete(socket: Socket): void {
    if (this.#first?.socket === socket) this.#first = undefined;
    else this.#others?.delete(socket);
  }

  /**
   * Unsubscribes all sockets. One that waits for a message is cut: after the detachment it would never get that message.
   * @returns the subscriptions of the others
   */
  detach(): Subscription[] {
    for (const socket of [...this.sockets()]) if (this.#sliced?.owes(socket)) socket.terminate();
    const subscriptions = [...(this.#others?.values() ?? [])];
    if (this.#first) subscriptions.push(this.#first.subscription);
    for (const socket of this.sockets()) socket.unsubscribe(this.name);
    this.#first = undefined;
    this.#others = undefined;
    return subscriptions;
  }
}
