/** Closes a WebSocket so that its client has first handed on everything that came before the Close frame. */
import type { ConnectionKind } from "../metrics.ts";
import {
  closeSettleMilliseconds,
  closeWaitMilliseconds,
  closeWaitsMax,
  youngLineMilliseconds,
} from "../settings/limits.ts";
import type { Purpose, Socket, SocketHandler } from "./connection.ts";

/** The payload of the ping, so that the pong to a heartbeat is not taken for its pong. */
const barrier = Buffer.from("closing");

/**
 * Detaches the endpoint at once, and closes the socket when the client has taken everything.
 *
 * Bun sends its FIN together with the Close frame and does not wait for the client's Close frame (RFC 6455 section 7.1.1).
 * Firefox drops what it has not handed to the page at the FIN: messages, and even `onopen` of a line that was opened a
 * moment before. So a ping follows the last message, and the Close frame follows its pong. A client that does not answer
 * and takes nothing is closed after `closeWaitMilliseconds`; one that takes little by little, after `closeWaitsMax` of them.
 *
 * @param code one that is allowed in a Close frame (RFC 6455 section 7.4)
 * @returns false if the socket was being closed before
 */
export function closeSocket(socket: Socket, code: number, reason: string): boolean {
  const { data } = socket;
  const { handler } = data;
  if (handler instanceof ClosingHandler) return false;
  data.handler = new ClosingHandler(socket, code, reason);
  handler.close?.(socket);
  return true;
}

/** Takes the place of the endpoint's handler. What the client still sends is ignored. */
class ClosingHandler implements SocketHandler {
  readonly kind: ConnectionKind;
  readonly #socket: Socket;
  readonly #purpose: Purpose;
  readonly #code: number;
  readonly #reason: string;
  #unsentBytes: number;
  #waits = 1;
  #timer: Timer;

  constructor(socket: Socket, code: number, reason: string) {
    this.kind = socket.data.kind;
    this.#socket = socket;
    this.#purpose = socket.data.purpose();
    this.#code = code;
    this.#reason = reason;
    socket.ping(barrier);
    this.#unsentBytes = socket.getBufferedAmount();
    this.#timer = setTimeout(() => this.#closeIfStuck(), closeWaitMilliseconds);
  }

  purpose(): Purpose {
    return this.#purpose;
  }

  message(): void {
    // What comes after the decision to close has no effect, as after a Close frame.
  }

  pong(payload: Buffer): void {
    if (!payload.equals(barrier)) return;
    clearTimeout(this.#timer);
    const isYoung = performance.now() - this.#socket.data.openedMilliseconds < youngLineMilliseconds;
    if (isYoung) this.#timer = setTimeout(() => this.#close(), closeSettleMilliseconds);
    else this.#close();
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #closeIfStuck(): void {
    const before = this.#unsentBytes;
    this.#unsentBytes = this.#socket.getBufferedAmount();
    if (this.#unsentBytes >= before || this.#waits++ === closeWaitsMax) this.#close();
    else this.#timer = setTimeout(() => this.#closeIfStuck(), closeWaitMilliseconds);
  }

  #close(): void {
    this.#socket.close(this.#code, this.#reason);
  }
}
