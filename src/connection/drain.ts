/** Closes all connections: spread over a time when this node drains, at once when the server stops. */
import { closingStepMilliseconds, closingsPerTurnMax, unsentSecondsMax } from "../settings/limits.ts";
import { closeCode } from "../wire/close-code.ts";
import { closeSocket } from "./closing.ts";
import type { Connections } from "./connections.ts";
import { inSlices } from "./slices.ts";

const drainReason = "this node is draining: come back, elsewhere";

/**
 * Admits no more connections, and closes the open ones with 1012. They are spread over the window because each client
 * comes back at once, and all in one moment would be too much for the other nodes.
 */
export async function drainAll(connections: Connections, windowSeconds: number): Promise<void> {
  connections.stopAdmitting();
  const code = closeCode.serviceRestart;
  const oldestFirst = [...connections.sockets()].reverse();
  const closings = [
    // A client with unsent bytes is left to `closeAll`, which waits for it.
    ...oldestFirst.map(
      (socket) => () => socket.getBufferedAmount() === 0 && closeSocket(socket, code, drainReason),
    ),
    ...Array.from(connections.httpConnections(), (stream) => () => stream.close(code, drainReason)),
  ];
  const steps = Math.max(1, Math.floor((windowSeconds * 1000) / closingStepMilliseconds));
  const perStep = Math.ceil(closings.length / steps);
  for (let next = 0; next < closings.length; next += perStep) {
    if (next > 0) await Bun.sleep(closingStepMilliseconds);
    await inSlices(closings.slice(next, next + perStep), closingsPerTurnMax, (close) => close());
  }
  await closeAll(connections, code, drainReason);
}

/**
 * Admits no more connections, and closes the open ones. A client with unsent bytes has 1 s to take them: they are sent
 * before the Close frame of a WebSocket, and are the rest of the answer of a poll.
 * @param code one that is allowed in a Close frame (RFC 6455 section 7.4)
 */
export async function closeAll(connections: Connections, code: number, reason: string): Promise<void> {
  connections.stopAdmitting();
  const deadline = performance.now() + unsentSecondsMax * 1000;
  for (;;) {
    const isLate = performance.now() >= deadline;
    await inSlices(connections.httpConnections(), closingsPerTurnMax, (connection) => {
      if (isLate) connection.abandon();
      else connection.close(code, reason);
    });
    await inSlices(connections.sockets(), closingsPerTurnMax, (socket) => {
      if (isLate) socket.close(code, reason);
      else if (socket.getBufferedAmount() === 0) closeSocket(socket, code, reason);
    });
    if (isLate || connections.count === 0) return;
    await Bun.sleep(closingStepMilliseconds);
  }
}
