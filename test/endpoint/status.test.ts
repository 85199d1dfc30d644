/** GET /status: what the page's server panel shows. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const key = "a-key-of-more-than-16-characters";
const secret = "a secret of more than thirty-two characters";

describe("GET /status", () => {
  const server = sharedServer();

  test("sends the figures at once and then each second, and is counted as a connection while it is read", async () => {
    await fetch(new URL("/topics/news", server.url), { method: "POST", body: "hello" });
    const abort = new AbortController();
    const events = eventsOf(await fetch(new URL("/status", server.url), { signal: abort.signal }));
    const first = await events.next();
    expect(first).toMatchObject({
      connections: { status: 1, echo: 0 },
      publishedMessages: 1,
      engine: { kind: "memory", available: true, topics: 1 },
      draining: false,
    });
    expect(first.memoryBytes).toBeGreaterThan(10_000_000);
    await fetch(new URL("/topics/news", server.url), { method: "POST", body: "hello" });
    const later = await events.next();
    expect(later.publishedMessages).toBe(2);
    expect(Date.parse(later.time) - Date.parse(first.time)).toBeGreaterThan(0);
    abort.abort();
    const open = async (): Promise<string> => await (await fetch(new URL("/metrics", server.url))).text();
    await until(async () => (await open()).includes('longwire_connections{form="status"} 0'), "its end");
  });

  test("names the topics with the most subscribers first, at most 20", async () => {
    const socket = async (topics: string): Promise<WebSocket> => {
      const socket = new WebSocket(server.socketUrl(`/topics/${topics}`), "cloudevents.json");
      await new Promise((resolve) => socket.addEventListener("message", resolve, { once: true }));
      return socket;
    };
    const names = Array.from({ length: 25 }, (_, index) => `busy/${index}`);
    const sockets = await Promise.all(
      [names, names.slice(3, 10), names.slice(7, 9)].map((some) => socket(some.join())),
    );
    const events = eventsOf(await fetch(new URL("/status", server.url)));
    // The status of the second before may be the first to come.
    let { busiestTopics } = await events.next();
    while (busiestTopics[0]?.subscribers !== 3) ({ busiestTopics } = await events.next());
    expect(busiestTopics.map(({ subscribers }) => subscribers)).toEqual([
      3,
      3,
      ...Array(5).fill(2),
      ...Array(13).fill(1),
    ]);
    expect(busiestTopics.slice(0, 2).map(({ topic }) => topic)).toEqual(["busy/7", "busy/8"]);
    for (const socket of sockets) socket.close();
  });

  test("is refused to pages of other origins, and HEAD opens nothing", async () => {
    const url = new URL("/status", server.url);
    expect((await fetch(url, { headers: { Origin: "https://elsewhere.example" } })).status).toBe(403);
    const head = await fetch(url, { method: "HEAD" });
    expect(head.status).toBe(200);
    expect(head.headers.get("content-type")).toStartWith("text/event-stream");
    expect((await fetch(url, { method: "POST", body: "x" })).status).toBe(405);
  });
});

test("with keys, the status is for the API key and for tokens with the claim `status`", async () => {
  await using server = await spawnServer(["--api-key", key, "--jwt-secret", secret]);
  const { makeToken } = await import("../../src/command/token.ts");
  const token = (status: boolean): Promise<string> =>
    makeToken({ secret, subscribe: ["*"], publish: [], end: [], status, ttlSeconds: 2, subject: undefined });
  const ask = (presented?: string): Promise<Response> => {
    const headers: Record<string, string> = presented ? { Authorization: `Bearer ${presented}` } : {};
    return fetch(new URL("/status", server.url), { headers });
  };
  expect((await ask()).status).toBe(401);
  expect((await ask("another-key-than-that")).status).toBe(401);
  expect((await ask(await token(false))).status).toBe(403);
  const withKey = await ask(key);
  expect(withKey.status).toBe(200);
  await withKey.body?.cancel();
  // A token ends its stream when it expires.
  const text = await (await ask(await token(true))).text();
  expect(text).toContain('"uptimeSeconds"');
  expect(text).toEndWith('event: longwire.close\ndata: {"code":4401,"reason":"the token has expired"}\n\n');
});

test("a drain closes it with 1012", async () => {
  await using server = await spawnServer();
  const answer = await fetch(new URL("/status", server.url));
  const text = answer.text();
  server.process.kill("SIGTERM");
  expect(await text).toContain('event: longwire.close\ndata: {"code":1012');
});

interface Figures {
  readonly time: string;
  readonly publishedMessages: number;
  readonly memoryBytes: number;
  readonly busiestTopics: readonly { readonly topic: string; readonly subscribers: number }[];
}

function eventsOf(answer: Response): { next(): Promise<Figures> } {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  return {
    next: async () => {
      for (;;) {
        const end = text.indexOf("\n\n");
        if (end !== -1) {
          const event = text.slice(0, end);
          text = text.slice(end + 2);
          return JSON.parse(event.slice("data: ".length));
        }
        const read = await reader?.read();
        if (!read || read.done) throw new Error("the stream ended");
        text += read.value;
      }
    },
  };
}
