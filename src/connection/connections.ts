/** The register of open connections. It decides whether one more may be opened. */

import type { Holder } from "../delivery/cutter.ts";
import type { Holders } from "../delivery/held-bytes.ts";
import type { Proxies } from "../http/proxies.ts";
import { Refusal, retryAfter } from "../http/refusal.ts";
import type { RequestContext } from "../http/request-context.ts";
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import type { HandlerConfig } from "../settings/config.ts";
import { refusedRetrySeconds } from "../settings/limits.ts";
import { clientNetwork } from "../settings/networks.ts";
import {
  ClientAddress,
  heldBytesOf,
  holderOf,
  type OpenConnection,
  type Socket,
  type Use,
} from "./connection.ts";
import { logClosed, logOpened } from "./connection-log.ts";
import { connectionsAllowed } from "./descriptors.ts";
import { HttpConnection, type HttpHandler } from "./http-connection.ts";
import { SocketList } from "./socket-list.ts";

const retryLater = retryAfter(refusedRetrySeconds);

export class Connections implements Holders {
  readonly connectionsMax: number;
  readonly #connectionsPerAddressMax: number;
  readonly #proxies: Proxies;
  readonly #counters: Counters;
  readonly #log: Logger;
  readonly #sockets = new SocketList();
  readonly #httpConnections = new Set<HttpConnection>();
  /** Addresses with an open connection. */
  readonly #addresses = new Map<string | undefined, ClientAddress>();
  /** Requests that wait to become a connection. */
  #reservedCount = 0;
  readonly #everySecond: (() => void)[] = [];
  #clock: Timer | undefined;
  #isDraining = false;
  #isClosed = false;

  constructor(
    config: Pick<HandlerConfig, "connectionsMax" | "connectionsPerAddressMax">,
    proxies: Proxies,
    counters: Counters,
    log: Logger,
  ) {
    this.connectionsMax = config.connectionsMax || connectionsAllowed();
    this.#connectionsPerAddressMax = config.connectionsPerAddressMax;
    this.#proxies = proxies;
    this.#counters = counters;
    this.#log = log;
  }

  /** Open now. */
  get count(): number {
    return this.#sockets.size + this.#httpConnections.size;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  sockets(): Iterable<Socket> & { readonly size: number } {
    return this.#sockets;
  }

  httpConnections(): ReadonlySet<HttpConnection> {
    return this.#httpConnections;
  }

  heldBytes(): number {
    let bytes = 0;
    for (const socket of this.#sockets) bytes += heldBytesOf(socket);
    for (const connection of this.#httpConnections) bytes += connection.heldBytes;
    return bytes;
  }

  holders(): Holder[] {
    const all: Holder[] = [...this.#httpConnections];
    for (const socket of this.#sockets) all.push(holderOf(socket));
    return all.filter(({ heldBytes }) => heldBytes > 0);
  }

  /**
   * Called in the step that opens a connection.
   * @returns the address, to be stored in the connection
   * @throws {Refusal} 503 or 429, if it is one too many or the server is draining
   */
  admit(context: RequestContext): ClientAddress {
    if (this.#isClosed) {
      const detail = "This node is draining; come back, elsewhere.";
      throw new Refusal("draining", detail, retryLater);
    }
    if (this.count + this.#reservedCount >= this.connectionsMax) {
      const detail = "All connections are taken (--max-connections); try later.";
      throw new Refusal("connections", detail, retryLater);
    }
    const address = this.#proxies.addressOf(context);
    const counted = address && clientNetwork(address);
    const clientAddress = this.#addresses.get(counted) ?? new ClientAddress(counted);
    const perAddressMax = this.#connectionsPerAddressMax;
    if (perAddressMax > 0 && clientAddress.connections >= perAddressMax) {
      const detail = `An address may have ${perAddressMax} connections open (--max-connections-per-ip).`;
      throw new Refusal("connections_per_ip", detail, retryLater);
    }
    return clientAddress;
  }

  /**
   * Counts a request as an open connection of its address, until it is disposed.
   * @throws {Refusal} as `admit`
   */
  reserve(context: RequestContext): Disposable {
    const clientAddress = this.admit(context);
    this.#reservedCount++;
    this.#countAddress(clientAddress);
    return {
      [Symbol.dispose]: () => {
        this.#reservedCount--;
        this.#uncountAddress(clientAddress);
      },
    };
  }

  add(socket: Socket): void {
    this.#sockets.add(socket);
    this.#count(socket.data);
  }

  delete(socket: Socket): void {
    if (this.#sockets.delete(socket)) this.#uncount(socket.data);
  }

  /**
   * Admits a connection over HTTP and registers it, in one step.
   * @throws {Refusal} as `admit`
   */
  openHttp(context: RequestContext, use: Use<HttpHandler>): HttpConnection {
    const connection = new HttpConnection(this, this.admit(context), use);
    this.#httpConnections.add(connection);
    this.#count(connection);
    logOpened(this.#log, connection);
    return connection;
  }

  /** Called by the connection itself. @returns false if it was not registered */
  deleteHttp(connection: HttpConnection): boolean {
    if (!this.#httpConnections.delete(connection)) return false;
    this.#uncount(connection);
    logClosed(this.#log, connection);
    return true;
  }

  /** Calls `tick` once a second while a connection is open. */
  everySecond(tick: () => void): void {
    this.#everySecond.push(tick);
  }

  /** Makes /readyz answer 503, so that load balancers choose other nodes. Connections are still admitted. */
  beginDraining(): void {
    this.#isDraining = true;
  }

  /** From now on no connection is admitted. */
  stopAdmitting(): void {
    this.#isDraining = true;
    this.#isClosed = true;
  }

  #count({ clientAddress, kind }: OpenConnection): void {
    this.#countAddress(clientAddress);
    this.#counters.open[kind]++;
    this.#counters.opened[kind]++;
    this.#clock ??= setInterval(() => this.#tick(), 1000).unref();
  }

  #uncount({ clientAddress, kind }: OpenConnection): void {
    this.#uncountAddress(clientAddress);
    this.#counters.open[kind]--;
    if (this.count > 0) return;
    clearInterval(this.#clock);
    this.#clock = undefined;
  }

  #countAddress(clientAddress: ClientAddress): void {
    if (clientAddress.connections++ === 0) this.#addresses.set(clientAddress.address, clientAddress);
  }

  #uncountAddress(clientAddress: ClientAddress): void {
    if (--clientAddress.connections === 0) this.#addresses.delete(clientAddress.address);
  }

  #tick(): void {
    for (const tick of this.#everySecond) tick();
  }
}
