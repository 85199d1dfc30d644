/** Opens connections in slices, so that a crowd that comes at once does not keep the event loop from everyone else. */
import { malformed } from "../http/refusal.ts";
import type { RequestContext } from "../http/request-context.ts";
import { openingsPerTurnMax } from "../settings/limits.ts";
import type { Connections } from "./connections.ts";

interface Waiting {
  readonly reservation: Disposable;
  /** Lets its request go on. */
  readonly proceed: () => void;
}

/** WebSockets, event streams and polls that wait to be opened, in the order of their requests. */
export class Openings {
  readonly #connections: Connections;
  #waiting: Waiting[] = [];
  #openedInTurn = 0;

  constructor(connections: Connections) {
    this.#connections = connections;
  }

  /**
   * Resolves when the request may open its connection. While it waits it counts as an open connection, so that the limits
   * on connections bound the queue.
   * @returns nothing if it need not wait: Bun keeps a request that is answered later in 800 bytes more
   * @throws {Refusal} if it has to wait and is one too many, or if its client left meanwhile
   */
  turn(context: RequestContext): Promise<void> | undefined {
    if (this.#openedInTurn === 0) setImmediate(() => this.#nextTurn());
    if (this.#openedInTurn < openingsPerTurnMax) {
      this.#openedInTurn++;
      return undefined;
    }
    return this.#wait(context);
  }

  async #wait(context: RequestContext): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const reservation = this.#connections.reserve(context);
    const waiting: Waiting = { reservation, proceed: resolve };
    this.#waiting.push(waiting);
    const leave = (): void => {
      const index = this.#waiting.indexOf(waiting);
      if (index >= 0) this.#proceed(this.#waiting.splice(index, 1));
    };
    const { signal } = context.request;
    signal.addEventListener("abort", leave);
    await promise;
    signal.removeEventListener("abort", leave);
    if (signal.aborted) throw malformed("The client left before its connection was opened.");
  }

  #nextTurn(): void {
    const next = this.#waiting.splice(0, openingsPerTurnMax);
    this.#openedInTurn = next.length;
    if (next.length > 0) setImmediate(() => this.#nextTurn());
    this.#proceed(next);
  }

  #proceed(next: readonly Waiting[]): void {
    for (const { reservation, proceed } of next) {
      reservation[Symbol.dispose]();
      proceed();
    }
  }
}
