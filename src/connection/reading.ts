/** Hands frames to endpoints in slices, so that a socket that floods does not keep the event loop from everyone else. */
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import {
  floodingSocketsPerTurnMax,
  frameOverheadBytes,
  framesPerTurnMax,
  waitingFrameBytesMax,
} from "../settings/limits.ts";
import { closeCode } from "../wire/close-code.ts";
import type { Connection, Socket } from "./connection.ts";
import { type ReceivedFrame, WaitingFrames } from "./frames.ts";
import type { Heartbeat } from "./heartbeat.ts";

/** A socket is first looked at after so many frames, so that most frames cost one addition. */
const framesUntilCounted = framesPerTurnMax / 2;

/** What reading is joined to. */
export interface ReadingDeps {
  /** Unsent bytes beyond which a socket is not read from, such as pongs that its client does not take. */
  readonly bufferedBytesMax: number;
  readonly heartbeat: Heartbeat;
  readonly counters: Counters;
  readonly log: Logger;
}

/**
 * A socket is read from unless an endpoint holds it or frames of it wait. Bun delivers what it had read before a pause, so
 * those frames wait here. They are handled also after their socket has closed: a client may send and leave.
 */
export class Reading {
  readonly #deps: ReadingDeps;
  /** Connections whose `framesInTurn` begins anew in the next turn. */
  #counted: Connection[] = [];
  /** Sockets that nobody holds and that have waiting frames or are still paused, in the order in which they are served. */
  readonly #queue = new Set<Socket>();
  #waitingBytes = 0;
  #isTurnScheduled = false;

  constructor(deps: ReadingDeps) {
    this.#deps = deps;
  }

  message(socket: Socket, data: Connection, frame: ReceivedFrame): void {
    if (!data.waiting) {
      if (++data.framesInTurn >= framesUntilCounted) this.#count(socket, data);
      data.handler.message(socket, frame);
      return;
    }
    data.waiting.add(frame);
    this.#waitingBytes += frame.length + frameOverheadBytes;
    if (this.#waitingBytes > waitingFrameBytesMax) this.#handle(socket, data, Number.POSITIVE_INFINITY);
  }

  ping(socket: Socket, data: Connection): void {
    if (data.waiting) data.waiting.pings++;
    else if (++data.framesInTurn >= framesUntilCounted) this.#count(socket, data);
  }

  /** Reads nothing from a socket, and hands over none of its frames, until `release` is called as often as this. */
  hold(socket: Socket): void {
    this.#pause(socket, socket.data).holds++;
  }

  release(socket: Socket): void {
    const { data } = socket;
    const { waiting } = data;
    if (!waiting || --waiting.holds > 0 || this.#queue.has(socket)) return;
    if (waiting.isEmpty) this.#resume(socket, data);
    else this.#enqueue(socket);
  }

  /** The client took a part of the unsent bytes. */
  drain(socket: Socket, { waiting }: Connection): void {
    if (!waiting?.isHeldForUnsent || socket.getBufferedAmount() > this.#deps.bufferedBytesMax) return;
    waiting.isHeldForUnsent = false;
    this.release(socket);
  }

  #count(socket: Socket, data: Connection): void {
    const { bufferedBytesMax, counters } = this.#deps;
    if (data.framesInTurn === framesUntilCounted) {
      this.#counted.push(data);
      this.#scheduleTurn();
      if (socket.getBufferedAmount() <= bufferedBytesMax) return;
      counters.paused.unread++;
      this.#pause(socket, data).isHeldForUnsent = true;
      this.hold(socket);
    } else if (data.framesInTurn === framesPerTurnMax) {
      counters.paused.flood++;
      this.#pause(socket, data);
      this.#enqueue(socket);
    }
  }

  #pause(socket: Socket, data: Connection): WaitingFrames {
    if (!data.waiting) {
      data.waiting = new WaitingFrames();
      socket.pause();
    }
    return data.waiting;
  }

  #resume(socket: Socket, data: Connection): void {
    data.waiting = undefined;
    if (socket.readyState === WebSocket.OPEN) socket.resume();
  }

  #enqueue(socket: Socket): void {
    this.#queue.add(socket);
    this.#scheduleTurn();
  }

  #scheduleTurn(): void {
    if (this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#isTurnScheduled = false;
    for (const data of this.#counted) data.framesInTurn = 0;
    this.#counted = [];
    // One read of a socket that floods takes 10 to 20 ms, so only one is resumed in a turn.
    let mayResume = true;
    for (const socket of [...this.#queue.values().take(floodingSocketsPerTurnMax)]) {
      this.#queue.delete(socket);
      const { data } = socket;
      this.#handle(socket, data, framesPerTurnMax);
      const { waiting } = data;
      if (!waiting || waiting.holds > 0) continue;
      if (mayResume && waiting.isEmpty) {
        mayResume = false;
        this.#resume(socket, data);
      } else {
        this.#enqueue(socket);
      }
    }
  }

  #handle(socket: Socket, data: Connection, framesMax: number): void {
    this.#deps.heartbeat.touch(data);
    const { waiting } = data;
    if (!waiting) return;
    const handleAll = (): void => {
      for (let left = framesMax; left > 0 && waiting.holds === 0; left--) {
        const frame = this.#take(waiting);
        if (frame === undefined) {
          waiting.pings = Math.max(0, waiting.pings - left);
          return;
        }
        data.handler.message(socket, frame);
      }
    };
    try {
      if (socket.readyState === WebSocket.OPEN) socket.cork(handleAll);
      else handleAll();
    } catch (error) {
      this.#deps.log.error({ err: error }, "a WebSocket handler threw; its connection is closed");
      while (this.#take(waiting) !== undefined); // Nothing is handled after a fault.
      socket.close(closeCode.serverFault, "a fault of the server");
    }
  }

  #take(waiting: WaitingFrames): ReceivedFrame | undefined {
    const frame = waiting.take();
    if (frame !== undefined) this.#waitingBytes -= frame.length + frameOverheadBytes;
    return frame;
  }
}
