/** The echo line with a socket that does what Bun's does only now and then: it drops a frame, or is closed while it is held. */
import { expect, test } from "bun:test";
import type { Socket } from "../../../src/connection/connection.ts";
import { EchoLine } from "../../../src/endpoint/ping/echo.ts";

function stage() {
  const seen = { sent: [] as (string | Buffer)[], holds: 0 };
  const bun = { result: 1, bufferedBytes: 0 };
  const line = new EchoLine(1000, { hold: () => seen.holds++, release: () => seen.holds-- });
  const socket = {
    readyState: WebSocket.OPEN,
    getBufferedAmount: () => bun.bufferedBytes,
    send: (message: string | Buffer) => {
      if (bun.result !== 0) seen.sent.push(message);
      return bun.result;
    },
  } as unknown as Socket;
  return { line, socket, bun, seen };
}

test("a message that Bun dropped is sent when there is room, and the socket is read from again", () => {
  for (const message of ["text", Buffer.from("bytes"), ""]) {
    const { line, socket, bun, seen } = stage();
    Object.assign(bun, { result: 0, bufferedBytes: 2000 });
    line.message(socket, message);
    line.drain(socket);
    expect(seen).toEqual({ sent: [], holds: 1 });
    Object.assign(bun, { result: 1, bufferedBytes: 0 });
    line.drain(socket);
    expect(seen).toEqual({ sent: [message], holds: 0 });
  }
});

test("a socket that closes while it is held is released, once", () => {
  const { line, socket, bun, seen } = stage();
  Object.assign(bun, { result: -1, bufferedBytes: 2000 });
  line.message(socket, "text");
  expect(seen.holds).toBe(1);
  line.close(socket);
  line.close(socket);
  expect(seen.holds).toBe(0);
});

test("ping is answered pong in its own type", () => {
  const { line, socket, seen } = stage();
  line.message(socket, "ping");
  line.message(socket, Buffer.from("ping"));
  expect(seen.sent).toEqual(["pong", Buffer.from("pong")]);
});
