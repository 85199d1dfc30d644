/** Readers of a topic that take nothing. */
import { NarrowSocket } from "./narrow-socket.ts";
import { handshakeHeaders, request } from "./raw-socket.ts";
import type { RunningServer } from "./server.ts";
import { inspect } from "./topics.ts";
import { until } from "./wait.ts";

const headers = {
  raw: handshakeHeaders,
  "cloudevents.json": { ...handshakeHeaders, "Sec-WebSocket-Protocol": "cloudevents.json" },
  "event streams": { Accept: "text/event-stream" },
} as const;

export const stalledForms = ["raw", "cloudevents.json", "event streams"] as const;

export async function stalledReaders(
  server: RunningServer,
  topic: string,
  form: (typeof stalledForms)[number],
  count: number,
): Promise<Disposable> {
  const head = Buffer.from(request("GET", `/topics/${topic}`, headers[form]));
  const sockets: NarrowSocket[] = [];
  const { subscribers } = await inspect(server, topic);
  for (let opened = 0; opened < count; ) {
    // Few at once, because the kernel accepts no more than the server's backlog.
    for (const end = Math.min(count, opened + 200); opened < end; opened++) {
      const socket = new NarrowSocket(Number(server.url.port));
      socket.write(head);
      sockets.push(socket);
    }
    const live = async (): Promise<boolean> =>
      (await inspect(server, topic)).subscribers === subscribers + opened;
    await until(live, "all readers");
  }
  return {
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket[Symbol.dispose]();
    },
  };
}
