/** /ping as an event stream: the server's time, once a second. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { sampleOf, samplesOf, scrape } from "../../support/prometheus.ts";
import { type RunningServer, spawnServer } from "../../support/server.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const accept = { Accept: "text/event-stream" };

interface Stream {
  readonly text: () => string;
  readonly ended: Promise<void>;
  cancel(): void;
}

async function openPing(server: RunningServer): Promise<Stream> {
  const leaving = new AbortController();
  const answer = await fetch(new URL("/ping", server.url), { headers: accept, signal: leaving.signal });
  expect(answer.status).toBe(200);
  expect(answer.headers.get("Content-Type")).toBe("text/event-stream; charset=utf-8");
  let text = "";
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of answer.body ?? []) text += decoder.decode(chunk, { stream: true });
  };
  const ended = read().catch((error: Error) => {
    if (error.name !== "AbortError") throw error;
  });
  return { text: () => text, ended, cancel: () => leaving.abort() };
}

const eventsIn = (text: string): string[] =>
  [...text.matchAll(/^data: (\d{4}-.*Z)$/gm)].map(([, time]) => String(time));

test("sends the server's time at once and then every second, to a client that is counted", async () => {
  await using server = await spawnServer();
  const stream = await openPing(server);
  await until(() => eventsIn(stream.text()).length >= 1, "the first event");
  expect(stream.text()).toStartWith("retry: ");
  await until(() => eventsIn(stream.text()).length >= 4, "four events");
  const times = eventsIn(stream.text()).map((text) => Date.parse(text));
  expect(Math.abs(Number(times[0]) - Date.now())).toBeLessThan(10_000);
  // The first comes at once, and so anywhere in the server's second.
  expect(Number(times[3]) - Number(times[1])).toBeWithin(1500, 6000);
  expect(samplesOf(await scrape(server), "longwire_connections").echo).toBe(1);
  stream.cancel();
  await until(
    async () => samplesOf(await scrape(server), "longwire_connections").echo === 0,
    "its end to be counted",
  );
});

test("ends with the code of a drain", async () => {
  await using server = await spawnServer();
  const stream = await openPing(server);
  await until(() => eventsIn(stream.text()).length >= 1, "the first event");
  server.process.kill("SIGTERM");
  await within(stream.ended, "the end of the stream");
  expect(stream.text()).toEndWith(
    'event: longwire.close\ndata: {"code":1012,"reason":"this node is draining: come back, elsewhere"}\n\n',
  );
});

test("is refused like a stream of topics: for good with a status, for now with 200 and a time to come back", async () => {
  await using guarded = await spawnServer([
    "--api-key",
    "an-api-key-of-32-characters-0001",
    "--private-ping",
  ]);
  expect((await fetch(new URL("/ping", guarded.url), { headers: accept })).status).toBe(401);
  await using full = await spawnServer(["--max-connections-per-ip", "1"]);
  const first = await openPing(full);
  await until(() => eventsIn(first.text()).length >= 1, "the first event");
  const refused = await openPing(full);
  await within(refused.ended, "the end of the refusal");
  expect(refused.text()).toMatch(/^retry: \d+\n\n$/);
  expect(sampleOf(await scrape(full), "longwire_refused_total", 'reason="connections_per_ip"')).toBe(1);
  first.cancel();
});
