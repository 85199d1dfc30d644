/** A poll is a connection until its answer is taken, and ends where its client is gone. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { createServer } from "../../../src/longwire.ts";
import { answerPieceBytes } from "../../../src/settings/limits.ts";
import { spawnDiskServer } from "../../support/disk-server.ts";
import { NarrowSocket } from "../../support/narrow-socket.ts";
import { samplesOf, scrape } from "../../support/prometheus.ts";
import { RawSocket, request } from "../../support/raw-socket.ts";
import { type RunningServer, residentBytes, spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { bearer, everywhere, sign } from "../../support/tokens.ts";
import {
  inspect,
  newTopic,
  publish,
  publishEach,
  type ReceivedEvent,
  topicsUrl,
} from "../../support/topics.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const MiB = 1024 * 1024;
const secret = "the secret of tokens that is in use";
const server = sharedServer();

const pollsOf = async (on: Pick<RunningServer, "url">): Promise<number> =>
  samplesOf(await scrape(on), "longwire_connections").poll ?? Number.NaN;

const bufferedBytesOf = async (on: Pick<RunningServer, "url">): Promise<number> =>
  samplesOf(await scrape(on), "longwire_buffered_bytes")[""] ?? Number.NaN;

/** A client that asks for everything of a topic, and reads nothing. Its kernel takes about 200 KB. */
function unreadPoll(on: Pick<RunningServer, "url">, topic: string, query = "since=all"): NarrowSocket {
  const socket = new NarrowSocket(Number(on.url.port), "wide");
  socket.write(Buffer.from(request("GET", `/topics/${topic}?${query}`, { Connection: "close" })));
  return socket;
}

/** Reads until the end of the connection. */
async function readAll(socket: NarrowSocket): Promise<string> {
  let text = "";
  await until(() => {
    let bytes = socket.read(256 * 1024);
    for (; bytes?.length; bytes = socket.read(256 * 1024)) text += bytes.toString("latin1");
    return bytes === undefined;
  }, "the end of the answer");
  return text;
}

const bytesOf = (events: readonly ReceivedEvent[]): number => Buffer.byteLength(JSON.stringify(events));

const isWhole = (answer: string): boolean => answer.endsWith("\r\n0\r\n\r\n");

describe("an answer", () => {
  test("has a Content-Length up to 64 KiB, and is chunked beyond, with the same events", async () => {
    const topic = newTopic();
    const url = `${topicsUrl(server, topic)}?since=all`;
    // Characters of two, three and four bytes, so that some lie across the end of a piece.
    const texts = Array.from({ length: 300 }, (_, index) => `${index}: ${"é∞😀".repeat(index)}`);
    const ids = await publishEach(server, topic, texts);
    const asItIs = { headers: { "Accept-Encoding": "identity" } };
    const large = await fetch(url, asItIs);
    expect(large.headers.get("content-length")).toBeNull();
    expect(large.headers.get("content-type")).toBe("application/cloudevents-batch+json");
    const body = await large.text();
    expect(Buffer.byteLength(body)).toBeGreaterThan(4 * answerPieceBytes);
    const events = JSON.parse(body) as ReceivedEvent[];
    expect(events.map(({ data }) => data)).toEqual(texts);
    expect(events.map(({ id }) => id)).toEqual(ids);
    // The most events whose array has up to 64 KiB.
    const limit = events.findIndex((_, index) => bytesOf(events.slice(0, index + 1)) > answerPieceBytes);
    const small = await fetch(`${url}&limit=${limit}`, asItIs);
    expect(await small.json()).toEqual(events.slice(0, limit));
    expect(Number(small.headers.get("content-length"))).toBeLessThanOrEqual(answerPieceBytes);
    const next = await fetch(`${url}&limit=${limit + 1}`, asItIs);
    expect(next.headers.get("content-length")).toBeNull();
  });

  test("to HEAD leaves no connection", async () => {
    await using own = await spawnServer([]);
    await publish(own, "a", "x".repeat(MiB / 2));
    const answer = await fetch(`${topicsUrl(own, "a")}?since=all`, { method: "HEAD" });
    expect(answer.status).toBe(200);
    await until(async () => (await pollsOf(own)) === 0, "the poll to end");
  });
});

describe("an answer that is not taken", () => {
  test("is a connection with bytes, until its client took it or left", async () => {
    await using own = await spawnServer(["--max-connections-per-ip", "2"]);
    await publish(own, "a", "x".repeat(MiB));
    using first = unreadPoll(own, "a");
    using second = unreadPoll(own, "a");
    await until(async () => (await pollsOf(own)) === 2, "two polls");
    await until(async () => (await bufferedBytesOf(own)) > MiB, "their bytes");
    expect((await fetch(`${topicsUrl(own, "a")}?since=all`)).status).toBe(429);
    expect(isWhole(await readAll(first))).toBe(true);
    await until(async () => (await pollsOf(own)) === 1, "the poll that was read to end");
    second[Symbol.dispose]();
    await until(async () => (await pollsOf(own)) === 0, "the poll that was left to end");
    expect(await bufferedBytesOf(own)).toBe(0);
  });

  test("counts in --max-buffered-total, past which it breaks off or is refused", async () => {
    const totalBytesMax = 4 * MiB;
    await using own = await spawnServer(["--max-buffered-total", String(totalBytesMax)]);
    await publish(own, "a", "x".repeat(MiB));
    const sockets = Array.from({ length: 10 }, () => unreadPoll(own, "a"));
    await until(
      async () => (samplesOf(await scrape(own), "longwire_cut_total").buffered_total ?? 0) >= 10 - 5,
      "the polls that hold too much to be cut",
    );
    expect(await bufferedBytesOf(own)).toBeLessThanOrEqual(totalBytesMax);
    const answers = await Promise.all(sockets.map(readAll));
    const whole = answers.filter((answer) => answer.startsWith("HTTP/1.1 200") && isWhole(answer));
    expect(whole.length).toBeGreaterThan(0);
    expect(whole.length).toBeLessThanOrEqual(5);
    for (const socket of sockets) socket[Symbol.dispose]();
  });

  test("is no copy: a crowd that waits for the same messages costs little more than one", async () => {
    const count = 150;
    await using own = await spawnServer(["--max-buffered-total", "1GiB"]);
    for (let message = 0; message < 4; message++) await publish(own, "a", "x".repeat(MiB / 2 - 1024));
    const before = await residentBytes(own.process.pid);
    const sockets = Array.from({ length: count }, () => unreadPoll(own, "a"));
    await until(async () => (await bufferedBytesOf(own)) > count * 1.5 * MiB, "the bytes of all", 60);
    expect(await residentBytes(own.process.pid)).toBeLessThan(before + (count * MiB) / 2);
    for (const socket of sockets) socket[Symbol.dispose]();
  });

  test("breaks off when its token expires", async () => {
    await using own = await spawnServer(["--jwt-secret", secret, "--token-leeway", "0s"]);
    const headers = bearer(await sign(everywhere, secret));
    const published = await fetch(topicsUrl(own, "a"), { method: "POST", body: "x".repeat(MiB), headers });
    expect(published.status).toBe(200);
    const token = await sign(everywhere, secret, { expires: 4 });
    using socket = unreadPoll(own, "a", `since=all&access_token=${token}`);
    await until(async () => (await bufferedBytesOf(own)) > 0, "the answer to begin");
    await Bun.sleep(3000); // Nothing happens before, so nothing is looked at.
    await until(async () => (await bufferedBytesOf(own)) === 0, "the answer to break off");
    const answer = await readAll(socket);
    expect(answer).toStartWith("HTTP/1.1 200");
    expect(isWhole(answer)).toBe(false);
  });

  test("may be taken while the node drains", async () => {
    await using own = await spawnServer(["--drain-window", "0s"]);
    await publish(own, "a", "x".repeat(MiB));
    using socket = unreadPoll(own, "a");
    await until(async () => (await pollsOf(own)) === 1, "the poll");
    own.process.kill("SIGTERM");
    expect(isWhole(await readAll(socket))).toBe(true);
    expect(await within(own.process.exited, "the server to end")).toBe(0);
  });
});

describe("a poll", () => {
  test("whose client left before it was opened ends at once", async () => {
    const asked = Promise.withResolvers<void>();
    const left = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<boolean>();
    await using own = await createServer({
      port: 0,
      logLevel: "silent",
      authorize: ({ signal }, { topic }) => {
        if (topic !== "slow") return true;
        signal.addEventListener("abort", () => left.resolve());
        asked.resolve();
        return answer.promise;
      },
    });
    const client = await RawSocket.connect(own.url);
    client.write(request("GET", "/topics/slow?since=-&wait=60s", {}));
    await within(asked.promise, "the question");
    client[Symbol.dispose]();
    await within(left.promise, "the server to see that its client left");
    answer.resolve(true);
    await until(
      async () => (samplesOf(await scrape(own), "longwire_refused_total").malformed ?? 0) === 1,
      "its end",
    );
    expect(await pollsOf(own)).toBe(0);
    expect((await inspect(own, "slow")).subscribers).toBe(0);
  });

  test("is admitted in the step that registers it: a crowd gets no more places than there are", async () => {
    await using onDisk = await spawnDiskServer(["--max-connections", "5", "--drain-window", "0s"]);
    const own = onDisk.running;
    const url = `${topicsUrl(own, "a")}?since=-&wait=60s`;
    let refused = 0;
    const statuses = Array.from({ length: 40 }, async () => {
      const { status } = await fetch(url);
      if (status === 503) refused++;
      return status;
    });
    await until(() => refused === 35, "35 polls to be refused");
    own.process.kill("SIGTERM"); // Answers the others.
    expect((await Promise.all(statuses)).filter((status) => status === 200)).toHaveLength(5);
  });
});
