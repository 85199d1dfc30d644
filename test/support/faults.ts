/** Preloaded into the server by faults.test.ts: makes its handlers throw. */
import type { Socket, SocketHandler } from "../../src/connection/connection.ts";
import { EchoLine } from "../../src/endpoint/ping/echo.ts";

const line: SocketHandler = EchoLine.prototype;
const { message: echo, drain: takeUp, close: forget } = EchoLine.prototype;
const throwOnDrain = new WeakSet<Socket>();
const throwOnClose = new WeakSet<Socket>();
let throwOnOpen = false;

line.open = () => {
  if (!throwOnOpen) return;
  throwOnOpen = false;
  throw new Error("thrown in open");
};

line.message = function (socket, message) {
  if (message === "throw") throw new Error("thrown in message");
  if (message === "throw no error") throw "thrown as text";
  if (message === "throw nothing") throw undefined;
  if (message === "throw on open") throwOnOpen = true;
  if (message === "throw on close") throwOnClose.add(socket);
  if (message === "throw later") setTimeout(() => line.message(socket, "throw"));
  if (message === "reject") void Promise.reject(new Error("rejected in message"));
  if (message === "throw on drain") {
    throwOnDrain.add(socket);
    // Bun gives a client that is being closed about 6 s to take its unsent bytes: as few as make Bun call drain.
    while (socket.send(Buffer.alloc(64 * 1024)) !== -1);
    return;
  }
  echo.call(this as EchoLine, socket, message);
};

line.drain = function (socket) {
  if (throwOnDrain.delete(socket)) throw new Error("thrown in drain");
  takeUp.call(this as EchoLine, socket);
};

line.close = function (socket) {
  forget.call(this as EchoLine, socket);
  if (throwOnClose.has(socket)) throw new Error("thrown in close");
};

/** Every handler of a request reads one of its headers. */
const { get } = Headers.prototype;
Headers.prototype.get = function (name) {
  const fault = get.call(this, "x-fault");
  if (fault === "throw") throw new Error("thrown in a request");
  if (fault === "throw a response") throw new Response("thrown as a response");
  return get.call(this, name);
};
