/** Coming back with the last id over real connections, while publishers never pause. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { createServer } from "../../../src/longwire.ts";
import { Follower, lastMessage, openIteration, openLines } from "../../support/followers.ts";
import { Random, seed } from "../../support/random.ts";
import { handshakeHeaders, opcodes, RawSocket, request } from "../../support/raw-socket.ts";
import { type RunningServer, residentBytes, spawnServer } from "../../support/server.ts";
import { noSightings, numbered, SlowReader } from "../../support/slow-reader.ts";
import { everyEvent, inspect, offsetOf, openEvents, openTopic, publish } from "../../support/topics.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * KiB;

const topics = ["one", "two"] as const;

/** What is published now and then is more than a line holds at once. */
const bodyOf = (random: Random, name: string): string =>
  `${name} `.padEnd(random.chance(0.05) ? 100_000 : random.between(10, 300), "x");

/**
 * Publishes to both topics, by POST and by sockets, until every follower has come back often enough, and waits until they
 * have everything.
 */
async function run(
  server: Pick<RunningServer, "url" | "socketUrl">,
  followers: readonly Follower[],
  random: Random,
  connections: number,
): Promise<void> {
  const running = server as RunningServer;
  const following = Promise.all(followers.map((follower) => follower.follow()));
  let failed = false;
  following.catch(() => {
    failed = true;
  });
  const enough = (): boolean => failed || followers.every((follower) => follower.connections >= connections);
  await Promise.all([
    ...topics.map(async (topic) => {
      for (let count = 0; !enough(); count++) await publish(running, topic, bodyOf(random, `post ${count}`));
    }),
    ...topics.map(async (topic) => {
      using socket = await openTopic(running, topic);
      for (let count = 0; !enough(); count++) {
        const body = bodyOf(random, `socket ${topic} ${count}`);
        socket.send(body);
        while ((await socket.next()) !== body); // Its own message is its receipt.
      }
    }),
  ]);
  for (const topic of topics) await publish(running, topic, lastMessage);
  await within(following, "the followers to have everything", 30);
}

function followersOf(server: Pick<RunningServer, "url" | "socketUrl">, random: Random): Follower[] {
  return Object.entries(openLines).flatMap(([name, open]) =>
    Array.from({ length: 3 }, (_, index) => {
      const several = index === 0 && name !== "a plain event stream";
      const followed = several ? topics : [random.pick(topics)];
      return new Follower(`${name} (${index})`, followed, open(server), random);
    }),
  );
}

/** Everything that was ever published, where history is ample. */
async function everything(server: Pick<RunningServer, "url">): Promise<Map<string, string>> {
  const events = await everyEvent(server, topics.join(","), "all,all");
  return new Map(events.map(({ topic, id, data }) => [`${topic} ${id}`, String(data)]));
}

const ample = ["--history-messages", "1000000", "--history-bytes", "1GiB"];

test("clients that leave at random moments and return with their last id get every message once and in order", async () => {
  await using server = await spawnServer(ample);
  const random = new Random(seed);
  const followers = followersOf(server, random);
  await run(server, followers, random, 6);
  const published = await everything(server);
  for (const follower of followers) {
    expect(follower.gaps).toBe(0);
    expect(follower.received.size).toBeGreaterThan(30);
    for (const [id, data] of follower.received) expect(data === published.get(id)).toBe(true);
  }
  expect(server.log().filter(({ msg }) => msg !== "listening")).toEqual([]);
});

test("so do those of the library, beside clients on the network", async () => {
  await using longwire = await createServer({
    port: 0,
    historyMessages: 1_000_000,
    historyBytesMax: 1024 * MiB,
    bufferedBytesMax: 256 * KiB,
    messageBytesMax: 128 * KiB,
    logLevel: "warn",
  });
  const server = { url: longwire.url, socketUrl: (path = "") => `ws://${longwire.url.host}${path}` };
  const random = new Random(seed);
  const followers = topics.flatMap((topic) => [
    new Follower(`the library's ${topic}`, [topic], openIteration(longwire), random),
    new Follower(`the library's other ${topic}`, [topic], openIteration(longwire), random),
    new Follower(`a WebSocket beside it`, [topic], openLines["a WebSocket"](server), random),
  ]);
  await run(server, followers, random, 5);
  const published = await everything(server);
  for (const follower of followers) {
    expect(follower.gaps).toBe(0);
    for (const [id, data] of follower.received) expect(data === published.get(id)).toBe(true);
  }
  // The library's began with everything that was retained, so they have everything.
  for (const [index, topic] of topics.entries()) {
    const all = [...published.keys()].filter((id) => id.startsWith(`${topic} `));
    expect(followers[index * 3]?.received.size).toBe(all.length);
  }
});

test("where history is trimmed they are told of each gap, and between two gaps nothing is missing", async () => {
  await using server = await spawnServer(["--history-messages", "5"]);
  const random = new Random(seed);
  const followers = followersOf(server, random);
  await run(server, followers, random, 10); // Each is held to it that nothing is missing but where a gap was told.
  expect(followers.reduce((sum, { gaps }) => sum + gaps, 0)).toBeGreaterThan(0);
});

test("a line that breaks within its replay, before anything of it was taken, loses nothing", async () => {
  await using server = await spawnServer(ample);
  for (let number = 0; number < 500; number++) await publish(server, "a", `${number}`);
  let last = (await openEvents(server, "a?since=all")).topics[0]?.id as string;
  let next = 0;
  for (let taken = 0; next < 500; taken = (taken + 7) % 40) {
    using client = await openEvents(server, `a?since=${last}`);
    expect(client.topics).toEqual([{ topic: "a", id: last, resumed: true }]);
    for (let count = 0; count < taken && next < 500; count++) {
      const { id, data } = await client.event();
      expect(data).toBe(String(next++));
      last = id;
    }
    client.terminate();
  }
});

/** More than the kernel takes for a reader that takes nothing, twenty times over what is sent ahead. */
const large = 24;

async function publishLarge(server: RunningServer, topic: string): Promise<void> {
  const body = "x".repeat(MiB - 10);
  for (let number = 0; number < large; number++) await publish(server, topic, `${number} ${body}`);
}

test("a replay larger than the send buffer is paced by what its client takes, and complete", async () => {
  await using server = await spawnServer([...ample, "--max-buffered", "2MiB"]);
  for (let number = 0; number < 16; number++) await publish(server, "a", numbered(number, 256 * KiB));
  const before = await residentBytes(server.process.pid);
  const sightings = noSightings();
  const clients = Array.from(
    { length: 30 },
    () => new SlowReader(server, "a", "cloudevents", sightings, { since: "all" }),
  );
  await until(() => {
    for (const client of clients) if (!client.connected) client.take(1024);
    return clients.every(({ connected }) => connected);
  }, "all replays to begin");
  // Each is sent what its kernel takes and no more than one message beyond what is sent ahead.
  const answer = await publish(server, "other", "the server is alive");
  expect(offsetOf(answer)).toBe(1);
  // All that is replayed is 120 MiB.
  expect((await residentBytes(server.process.pid)) - before).toBeLessThan(30 * 0.5 * MiB + 48 * MiB);
  for (const client of clients.splice(3)) client[Symbol.dispose]();
  await until(() => {
    for (const client of clients) client.takeAll();
    return clients.every(({ last }) => last === 15);
  }, "the whole replay");
  expect(sightings).toEqual({ cuts: 0, messages: 3 * 16, holes: [] });
  for (const client of clients) client[Symbol.dispose]();
});

test("a client that stalls within its replay is cut, and continues from where it was", async () => {
  await using server = await spawnServer([
    ...ample,
    ...["--heartbeat-interval", "1s", "--heartbeat-timeout", "1s"],
  ]);
  await publishLarge(server, "a");
  using client = await stalledReplay(server, "a?since=all");
  await server.logged("a silent peer is cut");
  await until(async () => (await inspect(server, "a")).subscribers === 0, "the end of its subscription");
  client.resume();
  let last = "";
  try {
    for (;;) last = JSON.parse((await dataFrame(client)).toString()).id;
  } catch (error) {
    expect(String(error)).toContain("the connection ended");
  }
  expect(offsetOf(last)).toBeGreaterThan(0);
  expect(offsetOf(last)).toBeLessThan(large);
  using again = await openEvents(server, `a?since=${last}`);
  for (let number = offsetOf(last); number < large; number++)
    expect((await again.event()).data).toStartWith(`${number} `);
});

/** Opens a line of CloudEvents and takes its first event, then nothing. */
async function stalledReplay(server: RunningServer, path: string): Promise<RawSocket> {
  const client = await RawSocket.connect(server.url);
  const headers = { ...handshakeHeaders, "Sec-WebSocket-Protocol": "cloudevents.json" };
  client.write(request("GET", `/topics/${path}`, headers));
  expect((await client.response()).status).toBe(101);
  client.pause();
  const { type } = JSON.parse((await dataFrame(client)).toString());
  expect(type).toBe("longwire.open");
  return client;
}

async function dataFrame(client: RawSocket): Promise<Buffer> {
  for (;;) {
    const { opcode, payload } = await client.frame();
    if (opcode === opcodes.text) return payload;
  }
}
