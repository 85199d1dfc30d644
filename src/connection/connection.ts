/** One open connection: the data kept for it, and what its endpoint does with it. */
import type { ServerWebSocket } from "bun";
import type { Holder } from "../delivery/cutter.ts";
import type { ConnectionKind } from "../metrics.ts";
import { socketMemoryFactor } from "../settings/limits.ts";
import type { ReceivedFrame, WaitingFrames } from "./frames.ts";

export type Socket = ServerWebSocket<Connection>;

/** The endpoint of a connection. */
export interface ConnectionHandler {
  readonly kind: ConnectionKind;
  /** Without it a connection has no topics. */
  purpose?(): Purpose;
  /** Takes it off its topics, before it is cut. */
  leave?(): void;
}

/** The endpoint of a WebSocket. If a method throws, only that connection is closed, with 1011. */
export interface SocketHandler extends ConnectionHandler {
  open?(socket: Socket): void;
  /** Also called after `close`, with frames that came before it. */
  message(socket: Socket, frame: ReceivedFrame): void;
  /** The client took some of the bytes that were unsent. */
  drain?(socket: Socket): void;
  /** Only pongs with a payload that the endpoint sent are its own: the heartbeat's have none. */
  pong?(payload: Buffer): void;
  close?(socket: Socket): void;
}

/** Memory for the unsent bytes of a WebSocket. */
export const heldBytesOf = (socket: Socket): number =>
  Math.ceil(socket.getBufferedAmount() * socketMemoryFactor);

/** A WebSocket as delivery sees it. */
export const holderOf = (socket: Socket): Holder => ({
  heldBytes: heldBytesOf(socket),
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

/** An address that clients connect from. All its connections share one object, so that they can be counted. */
export class ClientAddress {
  /** Open now. */
  connections = 0;

  /** @param address undefined on a unix socket; of IPv6 its /64, which one client has for itself */
  constructor(readonly address: string | undefined) {}
}

/** What a connection is opened for. */
export interface Use<Handler> {
  readonly handler: Handler;
  /** When its token expires, in milliseconds since 1970. */
  readonly expiresTime: number;
}

let lastConnectionNumber = 0;

/** What both kinds of connection are to the register, the log and the heartbeat. */
export abstract class OpenConnection<Handler extends ConnectionHandler = ConnectionHandler> {
  /** For the log: no other connection of the process has it. */
  readonly number = ++lastConnectionNumber;
  /** By `performance.now()`. */
  readonly openedMilliseconds = performance.now();
  /** Replaced where what the connection is used for changes, such as when the server closes it (closing.ts). */
  handler: Handler;
  readonly expiresTime: number;

  /** @param clientAddress stored here, because Bun reports no address for a closed socket */
  constructor(
    readonly clientAddress: ClientAddress,
    { handler, expiresTime }: Use<Handler>,
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

/** The `data` of each WebSocket. Past 12 fields JavaScriptCore takes more than 112 bytes for it. */
export class Connection extends OpenConnection<SocketHandler> {
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

  /** @param register the one it is admitted to: two Longwire handlers in one `Bun.serve` have a register each */
  constructor(
    readonly register: object,
    clientAddress: ClientAddress,
    use: Use<SocketHandler>,
  ) {
    super(clientAddress, use);
  }
}
