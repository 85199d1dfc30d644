/** Pings silent clients, and ends connections that stay silent or whose token has expired. */
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import type { HandlerConfig } from "../settings/config.ts";
import { heartbeatsPerTurnMax } from "../settings/limits.ts";
import { closeCode } from "../wire/close-code.ts";
import { closeSocket } from "./closing.ts";
import type { Connection, Socket } from "./connection.ts";
import type { Connections } from "./connections.ts";
import { inSlices } from "./slices.ts";

const expiredReason = "the token has expired";

/** What a heartbeat is joined to. */
export interface HeartbeatDeps {
  readonly config: Pick<HandlerConfig, "heartbeatIntervalSeconds" | "heartbeatTimeoutSeconds">;
  readonly connections: Pick<Connections, "everySecond" | "sockets" | "httpConnections">;
  readonly counters: Counters;
  readonly log: Logger;
}

/**
 * Bun's own idle timeout never ends a dead client that is still sent to (oven-sh/bun#39255), nor one that is not read
 * from. This one ends both, so it also bounds how long reading from a socket may be paused.
 */
export class Heartbeat {
  readonly #deps: HeartbeatDeps;
  /** Advances while a connection is open. A message reads it instead of the time, which costs a system call. */
  #clockSeconds = 0;

  /** Whether connections are being looked at, for which a second may be too short. */
  #isLooking = false;

  constructor(deps: HeartbeatDeps) {
    this.#deps = deps;
    deps.connections.everySecond(() => void this.#tick());
  }

  /** Notes that something came from a client. */
  touch(connection: Connection): void {
    connection.pinged = false;
    if (connection.lastReceivedSeconds === this.#clockSeconds) return;
    connection.lastReceivedSeconds = this.#clockSeconds;
    connection.receivedInSecond = 0;
  }

  async #tick(): Promise<void> {
    const { connections } = this.#deps;
    this.#clockSeconds++;
    if (this.#isLooking) return;
    this.#isLooking = true;
    const now = Date.now();
    await inSlices(connections.httpConnections(), heartbeatsPerTurnMax, (connection) => {
      if (connection.expiresTime > now) connection.handler.tick?.(connection);
      else {
        this.#deps.counters.cut.expired++;
        connection.close(closeCode.unauthorized, expiredReason);
      }
    });
    await inSlices(connections.sockets(), heartbeatsPerTurnMax, (socket) => {
      if (socket.data.expiresTime > now) this.#pingOrCut(socket);
      else if (closeSocket(socket, closeCode.unauthorized, expiredReason)) this.#deps.counters.cut.expired++;
    });
    this.#isLooking = false;
  }

  #pingOrCut(socket: Socket): void {
    const { config, counters, log } = this.#deps;
    const { data } = socket;
    const silentSeconds = this.#clockSeconds - data.lastReceivedSeconds;
    if (silentSeconds <= config.heartbeatIntervalSeconds) return;
    if (silentSeconds > config.heartbeatIntervalSeconds + config.heartbeatTimeoutSeconds) {
      counters.cut.silent++;
      log.info({ address: data.clientAddress.address, silentSeconds }, "a silent peer is cut");
      socket.terminate();
    } else if (!data.pinged) {
      data.pinged = true;
      socket.ping();
    }
  }
}
