/**
 * The control: sends a hundred messages to each client at once, in the form that it asks for and with as many bytes as
 * Longwire. It keeps no history, looks up no position and checks no buffer.
 */
const messages = Array.from({ length: 100 }, (_, index) => ({
  id: `k3x9q2v7-${index + 2}`,
  data: "x".repeat(128),
}));
const common = { specversion: "1.0", source: "/topics/bench", time: "2026-11-24T12:00:00.000Z" };
const opened = JSON.stringify({
  ...common,
  type: "longwire.open",
  id: "1",
  data: { topics: [{ topic: "bench", id: "k3x9q2v7-1", resumed: true }] },
});
const events = messages.map(({ id, data }) =>
  JSON.stringify({
    ...common,
    type: "longwire.message",
    id,
    topic: "bench",
    datacontenttype: "text/plain",
    data,
  }),
);
const stream = new TextEncoder().encode(
  `retry: 1000\nevent: longwire.open\ndata: {}\nid: k3x9q2v7-1\n\n${messages
    .map(({ id, data }) => `data: ${data}\nid: ${id}\n\n`)
    .join("")}`,
);

function eventStream(): Response {
  const body = new ReadableStream({ start: (controller) => controller.enqueue(stream) });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
}

type Form = "echo" | "raw" | "cloudevents.json";

const server = Bun.serve<Form>({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, server) => {
    if (request.method === "POST") return Response.json({ published: [{ id: "k3x9q2v7-1" }] });
    const subprotocol = request.headers.get("sec-websocket-protocol");
    const isEcho = new URL(request.url).pathname === "/ping";
    const data = isEcho ? "echo" : subprotocol === "cloudevents.json" ? subprotocol : "raw";
    const headers = { "Sec-WebSocket-Protocol": subprotocol ?? "" };
    if (server.upgrade(request, { data, headers })) return undefined;
    server.timeout(request, 0);
    return eventStream();
  },
  websocket: {
    open(ws) {
      if (ws.data === "raw") for (const { data } of messages) ws.send(data);
      if (ws.data === "cloudevents.json") for (const event of [opened, ...events]) ws.send(event);
    },
    message(ws, message) {
      ws.send(message);
    },
  },
});
console.log(server.url.href);
