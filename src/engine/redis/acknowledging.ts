/** Waits until replicas have what was appended: one WAIT after all appends of a turn, never two at a time. */
import { nextTurn } from "../../next-turn.ts";
import { BrokerUnavailable } from "../../topic/broker.ts";
import type { RedisConnection } from "./link.ts";

/** How long replicas have to acknowledge. While a connection waits, Redis answers nothing else on it. */
const waitMilliseconds = 1000;

/** The same while they did not acknowledge before, and it is only tried whether they do again. */
const tryMilliseconds = 100;

export class Acknowledging {
  readonly #connection: RedisConnection;
  readonly #replicas: number;
  /** The WAIT that is not yet sent, for appends from now on. */
  #next: Promise<void> | undefined;
  #current: Promise<unknown> = Promise.resolve();
  #isShort = false;

  /** @param replicas how many must acknowledge; 0 waits for nothing */
  constructor(connection: RedisConnection, replicas: number) {
    this.#connection = connection;
    this.#replicas = replicas;
  }

  /** True after a WAIT that fewer replicas acknowledged. Appending would only take time. */
  get isShort(): boolean {
    return this.#isShort;
  }

  /** Resolves when the appends that were sent so far are acknowledged. @throws {BrokerUnavailable} */
  wait(): Promise<void> {
    this.#next ??= this.#waitForTurn();
    return this.#next;
  }

  /** Whether replicas acknowledge again. */
  async tryAgain(): Promise<void> {
    if (this.#isShort) await this.#send(tryMilliseconds);
  }

  async #waitForTurn(): Promise<void> {
    await Promise.allSettled([this.#current, nextTurn()]);
    this.#next = undefined;
    const count = await this.#send(waitMilliseconds);
    if (count < this.#replicas)
      throw new BrokerUnavailable(
        `${count} of ${this.#replicas} replicas acknowledged; whether a failover keeps the message is unknown`,
      );
  }

  async #send(milliseconds: number): Promise<number> {
    const sent = this.#connection.command(["WAIT", String(this.#replicas), String(milliseconds)]);
    this.#current = sent;
    const count = Number(await sent);
    this.#isShort = count < this.#replicas;
    return count;
  }
}
