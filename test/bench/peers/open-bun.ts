/** The control: subscribes each socket to the topics of its path by Bun's own, and sends as much as Longwire. A POST publishes. */
const opened = (topics: readonly string[]): string =>
  JSON.stringify({
    specversion: "1.0",
    type: "longwire.open",
    source: "/connections/0b5c5f6e-7f5e-4d6c-9a63-3f2f6f9f7b1a",
    id: "1",
    time: "2026-11-24T12:00:00.000Z",
    datacontenttype: "application/json",
    data: { topics: topics.map((topic) => ({ topic, id: "k3x9q2v7-0", resumed: false })) },
  });

interface Line {
  readonly topics: readonly string[];
  readonly isRaw: boolean;
}

const topicsOf = (url: string): string[] => {
  const { pathname } = new URL(url);
  return pathname === "/ping" ? [] : pathname.slice("/topics/".length).split(",");
};

function eventStream(): Response {
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode("retry: 1000\n\n")),
  });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
}

const server = Bun.serve<Line>({
  hostname: "127.0.0.1",
  port: 0,
  fetch: async (request, server) => {
    const topics = topicsOf(request.url);
    if (request.method === "POST") {
      for (const topic of topics) server.publish(topic, await request.text(), false);
      return Response.json({ published: [{ topic: topics[0], id: "k3x9q2v7-1" }] });
    }
    const subprotocol = request.headers.get("sec-websocket-protocol");
    const data = { topics, isRaw: subprotocol === null };
    const headers = { "Sec-WebSocket-Protocol": subprotocol ?? "" };
    if (server.upgrade(request, { data, headers })) return undefined;
    server.timeout(request, 0);
    return eventStream();
  },
  websocket: {
    open(ws) {
      const { topics, isRaw } = ws.data;
      if (!isRaw) ws.send(opened(topics));
      for (const topic of topics) ws.subscribe(topic);
    },
    message() {},
  },
});
console.log(server.url.href);
