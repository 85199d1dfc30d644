/** Unsent bytes of all connections together, and what happens when they are too many. */
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import { heldAfterCutShare } from "../settings/limits.ts";
import type { Socket } from "./connection.ts";
import type { Connections } from "./connections.ts";
import type { HttpConnection } from "./http-connection.ts";

export interface HeldBytesDeps {
  readonly connections: Pick<Connections, "sockets" | "httpConnections">;
  /** `--max-buffered-total`, in bytes. */
  readonly totalMax: number;
  readonly counters: Counters;
  readonly log: Logger;
}

/**
 * Bun reports the unsent bytes of one socket at a time, and counts frames under 16 KiB only when it writes them, at the end
 * of the turn. So the total is an estimate: the last measurement, and everything that was handed to sockets since.
 */
export class HeldBytes {
  readonly #deps: HeldBytesDeps;
  #measured = 0;
  /** Handed to connections since the measurement. Most of it is sent at once. */
  #added = 0;
  /** Published in this turn of the event loop, which Bun may not count yet. */
  #addedInTurn = 0;
  #endsTurn = false;

  constructor(deps: HeldBytesDeps) {
    this.#deps = deps;
  }

  /** Measures. @returns the total, in bytes */
  measure(): number {
    const { connections } = this.#deps;
    let total = 0;
    for (const socket of connections.sockets()) total += socket.getBufferedAmount();
    for (const connection of connections.httpConnections()) total += connection.heldBytes;
    this.#measured = total;
    this.#added = 0;
    return total;
  }

  /** Whether so many more bytes can be handed to connections. Costs a walk over all of them only near the limit. */
  fits(bytes: number): boolean {
    const { totalMax } = this.#deps;
    if (this.#measured + this.#added + bytes <= totalMax) return true;
    return this.measure() + this.#addedInTurn + bytes <= totalMax;
  }

  /** Counts bytes that were handed to connections. */
  add(bytes: number): void {
    this.#added += bytes;
    this.#addedInTurn += bytes;
    if (this.#endsTurn) return;
    this.#endsTurn = true;
    setImmediate(() => {
      this.#endsTurn = false;
      this.#addedInTurn = 0;
    });
  }

  /** Called once a second, for what is held besides published messages: echoes, replays, pongs. */
  check(): void {
    if (this.measure() > this.#deps.totalMax) this.makeRoom(0);
  }

  /** Cuts the readers that hold most until `bytes` more fit. A reader that holds nothing is not cut. */
  makeRoom(bytes: number): void {
    if (this.fits(bytes)) return;
    const { connections, totalMax } = this.#deps;
    const holders = [...socketHolders(connections.sockets()), ...httpHolders(connections.httpConnections())];
    holders.sort((one, other) => other.bytes - one.bytes);
    const target = totalMax * heldAfterCutShare - bytes;
    let total = this.#measured;
    for (const holder of holders) {
      if (total <= target) break;
      total -= holder.bytes;
      this.#cut(holder);
    }
    this.#measured = total;
  }

  #cut({ bytes, address, cut }: Holder): void {
    const { counters, log } = this.#deps;
    counters.cut.buffered_total++;
    log.warn(
      { address, bufferedBytes: bytes },
      "a slow reader is cut: all unsent bytes exceed --max-buffered-total",
    );
    cut();
  }
}

/** A connection with unsent bytes. */
interface Holder {
  readonly bytes: number;
  readonly address: string | undefined;
  cut(): void;
}

function* socketHolders(sockets: Iterable<Socket>): Iterable<Holder> {
  for (const socket of sockets) {
    const bytes = socket.getBufferedAmount();
    const { address } = socket.data.clientAddress;
    if (bytes > 0) yield { bytes, address, cut: () => socket.terminate() };
  }
}

function* httpHolders(connections: Iterable<HttpConnection>): Iterable<Holder> {
  for (const connection of connections) {
    const { heldBytes, clientAddress } = connection;
    if (heldBytes > 0)
      yield { bytes: heldBytes, address: clientAddress.address, cut: () => connection.abandon() };
  }
}
