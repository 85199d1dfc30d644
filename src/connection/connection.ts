/** One open connection: the data kept for it, and what its endpoint does with it. */
import type { ServerWebSocket } from "bun";
import type { Holder } from "../delivery/cutter.ts";
import type { ConnectionKind } from "../metrics.ts";
import type { Frame, WaitingFrames } from "./frames.ts";

export type Socket = ServerWebSocket<Connection>;

/** The endpoint of a WebSocket. If a method throws, only that connection is closed, with 1011. */
export interface SocketHandler {
  readonly kind: ConnectionKind;
  open?(socket: Socket): void;
  /** Also called after `close`, with frames that came before it. */
  message(socket: Socket, frame: Frame): void;
  /** The client took some of the bytes that were unsent. */
  drain?(socket: Socket): void;
  /** Only pongs with a payload that the endpoint sent are its own: the heartbeat's have none. */
  pong?(payload: Buffer): void;
  close?(socket: Socket): void;
  /** Takes it off its topics, before it is cut. */
  leave?(): void;
  /** Without it a connection has no topics. */
  purpose?(): Purpose;
}

/** A WebSocket as delivery sees it. */
export const holderOf = (socket: Socket): Holder => ({
  heldBytes: socket.getBufferedAmount(),
  address: socket.data.clientAddress.address,
  leave: () => socket.data.handler.leave?.(),
  abandon: () => socket.terminate(),
});

/** What a connection is used for, for the log. */
export interface Purpose {
  /** The `sub` of its token, or the subject that `authorize` named. */
  readonly sub: string | undefined;
  /** Number of its topics. */
  readonly topics: number;
}

let lastConnectionNumber = 0;

/** A number for the log that no other connection of the process has. */
export const nextConnectionNumber = (): number => ++lastConnectionNumber;

/** An address that clients connect from. All its connections share one object, so that they can be counted. */
export class ClientAddress {
  /** Open now. */
  connections = 0;

  /** @param address undefined on a unix socket; of IPv6 its /64, which one client has for itself */
  constructor(readonly address: string | undefined) {}
}

/** What a WebSocket is opened for. */
export interface ConnectionUse {
  readonly handler: SocketHandler;
  /** When its token expires, in milliseconds since 1970. */
  readonly expiresTime: number;
}

/** The `data` of each WebSocket. Past 12 fields JavaScriptCore takes more than 112 bytes for it. */
export class Connection {
  /** In seconds of the heartbeat's clock. */
  lastReceivedSeconds = 0;
  /** A ping was sent, and nothing was received since. */
  pinged = false;
  /** Messages and pings received in the second `lastReceivedSeconds`. */
  receivedInSecond = 0;
  /** Frames since reading.ts last began to count. */
  framesInTurn = 0;
  /** Set while the socket is not read from. */
  waiting: WaitingFrames | undefined;
  /** Its place in the SocketList; -1 while it is in none. */
  listIndex = -1;

  readonly number = nextConnectionNumber();
  readonly openedMilliseconds = performance.now();
  /** Replaced when the server closes the connection: closing.ts. */
  handler: SocketHandler;
  /** In milliseconds since 1970. */
  readonly expiresTime: number;

  /**
   * @param register the one it is admitted to: two Longwire handlers in one `Bun.serve` have a register each
   * @param clientAddress stored here, because Bun reports no address for a closed socket
   */
  constructor(
    readonly register: object,
    readonly clientAddress: ClientAddress,
    { handler, expiresTime }: ConnectionUse,
  ) {
    this.handler = handler;
    this.expiresTime = expiresTime;
  }

  get kind(): ConnectionKind {
    return this.handler.kind;
  }

  purpose(): Purpose {
    return this.handler.purpose?.() ?? { sub: undefined, topics: 0 };
  }
}
