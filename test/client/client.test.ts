/** `longwire/client` in Bun, Node and Chromium: through cut lines, restarts, ends, expired tokens and silence. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Browser } from "playwright-core";
import {
  type FollowedMessage,
  type FollowOptions,
  follow,
  type Open,
  type Opening,
} from "../../src/client/client.ts";
import { bundlePage } from "../../src/endpoint/page.ts";
import { launchBrowser } from "../support/chromium.ts";
import {
  type ClientProgram,
  inBun,
  inNode,
  inPage,
  type Place,
  type Wanted,
} from "../support/client-programs.ts";
import { openCuttableLine } from "../support/cuttable-line.ts";
import { Random, seed } from "../support/random.ts";
import { spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { everywhere, sign } from "../support/tokens.ts";
import { lacks } from "../support/tool.ts";
import { newTopic, offsetOf, post, publish, publishEach, topicsUrl } from "../support/topics.ts";
import { startUpgradeEater } from "../support/upgrade-eater.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const secret = "a secret of at least thirty-two bytes";

const server = sharedServer(["--history-messages", "3"]);
const guarded = sharedServer(["--jwt-secret", secret]);

const client = (await bundlePage())["client.js"];
let browser: Browser | undefined;

/** Starts programs in a place that is made for the first one of them, and ends with this file. */
function placeOf(make: () => Place | Promise<Place>): (wanted: Wanted) => Promise<ClientProgram> {
  let place: Promise<Place> | undefined;
  afterAll(async () => (await place)?.[Symbol.asyncDispose]());
  return async (wanted) => {
    place ??= (async () => make())();
    return (await place).start(wanted);
  };
}

const bun = placeOf(() => inBun());
const hurriedBun = placeOf(() => inBun(10));
const node = placeOf(() => inNode(client));
const hurriedNode = placeOf(() => inNode(client, 10));
const chromium = placeOf(async () => {
  browser = await launchBrowser();
  const page = await browser.newPage();
  // Not the page of the server, which would do much beside.
  await page.goto(new URL("/healthz", server.url).href);
  return inPage(page);
});
afterAll(() => browser?.close());

/** Where a program runs. */
const places = [
  { place: "Bun", isMissing: false, start: bun },
  { place: "Node", isMissing: lacks("Node 20.10"), start: node },
  { place: "Chromium", isMissing: lacks("chromium"), start: chromium },
  {
    place: "Chromium, by event streams",
    isMissing: lacks("chromium"),
    start: (wanted: Wanted) => chromium({ ...wanted, transport: "eventsource" }),
  },
  {
    place: "Node, by event streams",
    isMissing: lacks("Node 20.10"),
    start: (wanted: Wanted) => node({ ...wanted, transport: "eventsource" }),
  },
] as const;

/** Ends a topic. @returns the id of the end */
async function endTopic(topic: string): Promise<string> {
  const response = await post(server, `${topic}?end`, "", {});
  expect(response.status).toBe(200);
  return ((await response.json()) as { published: { id: string }[] }).published[0]?.id ?? "";
}

describe("/client.js", () => {
  test("is a module of at most 4.5 KB, which pages of every origin may import", async () => {
    const answer = await fetch(new URL("/client.js", server.url));
    expect(answer.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
    const text = await answer.text();
    expect(text).toBe(client);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4.5 * 1024);
  });
});

/**
 * Follows a topic through a line that is cut after any number of bytes, until the topic ends.
 * @returns how much was reported
 */
async function followThroughCuts(
  start: (wanted: Wanted) => Promise<ClientProgram>,
): Promise<{ gaps: number; messages: number }> {
  const random = new Random(seed);
  const cuts = 20;
  let connections = -1;
  using line = openCuttableLine(server.url, () =>
    ++connections > 0 && connections <= 2 * cuts ? random.below(1500) : Number.POSITIVE_INFINITY,
  );
  const topic = newTopic();
  await using program = await start({ url: topicsUrl(line, topic) });
  await program.next("open");
  let at = offsetOf(await publish(server, topic, "first"));
  expect(await program.next("message")).toEqual(["message", topic, expect.any(String), "first"]);
  line.cut();
  const deadline = performance.now() + 90_000;
  while (connections < cuts) {
    if (performance.now() > deadline) throw new Error(`the client came back only ${connections} times`);
    // At times faster than the client comes back, so that it meets gaps, and at times not.
    for (let count = random.below(5); count > 0; count--) await publish(server, topic, "next");
    await Bun.sleep(random.pick([0, 5, 20]));
  }
  await publish(server, topic, "last");
  const end = await endTopic(topic);
  const found = { gaps: 0, messages: 0 };
  for (;;) {
    const [name, , id, data] = await program.next("message", "gap", "end", "stop");
    const offset = offsetOf(String(id));
    if (name === "gap" ? offset <= at : offset !== at + 1)
      throw new Error(`after the message ${at} came ${name} ${offset}`);
    at = offset;
    if (name === "gap") found.gaps++;
    else found.messages++;
    if (data === "last") break;
  }
  expect(await program.next("message", "gap", "end", "stop")).toEqual(["end", topic, end]);
  expect(await program.next("message", "gap", "end", "stop")).toEqual(["stop", 1000, "ended", end]);
  return found;
}

for (const { place, isMissing, start } of places) {
  describe(`follow in ${place}`, () => {
    test.skipIf(isMissing)(
      "reports every gap, the end, and every other message once, wherever its line is cut",
      async () => {
        const { gaps, messages } = await followThroughCuts(start);
        expect(gaps).toBeGreaterThan(0);
        expect(messages).toBeGreaterThan(1);
      },
    );

    test.skipIf(isMissing)(
      "stops at the end of the last of its topics, and when it comes back to the ends",
      async () => {
        const topics = [newTopic(), newTopic()];
        const url = topicsUrl(server, topics.join(","));
        await using program = await start({ url: `${url}?since=all,all` });
        await program.next("open");
        await publish(server, String(topics[1]), "only");
        expect(await program.next()).toEqual(["message", topics[1], expect.any(String), "only"]);
        const ends = [await endTopic(String(topics[0])), await endTopic(String(topics[1]))];
        for (const [index, end] of ends.entries())
          expect(await program.next()).toEqual(["end", topics[index], end]);
        const stop = ["stop", 1000, "ended", ends.join(",")] as const;
        expect(await program.next()).toEqual(stop);

        await using later = await start({ url: `${url}?since=${ends}` });
        expect(await later.next("stop")).toEqual(stop);
      },
    );

    test.skipIf(isMissing)("stops where coming back does not help", async () => {
      await using program = await start({
        url: topicsUrl(guarded, "secret"),
        tokens: [await sign({ subscribe: ["open"] }, secret)],
      });
      expect(await program.next("stop", "open")).toEqual(["stop", 4403, expect.any(String), null]);

      await using malformed = await start({ url: topicsUrl(server, `${newTopic()}?since=yesterday`) });
      expect((await malformed.next("stop", "open")).slice(0, 2)).toEqual(["stop", 1008]);
    });

    test.skipIf(isMissing)("takes a new token where the old one is refused or expires", async () => {
      const topic = newTopic();
      const expired = await sign(everywhere, secret, { expires: -60 });
      const brief = await sign(everywhere, secret, { expires: 2 });
      const tokens = [expired, brief, await sign(everywhere, secret)];
      await using program = await start({ url: topicsUrl(guarded, topic), tokens });
      await program.next("open");
      const headers = { Authorization: `Bearer ${tokens[2]}` };
      await post(guarded, topic, "before", headers);
      expect((await program.next("message")).at(-1)).toBe("before");
      expect(await program.next()).toEqual(["lost", 4401]);
      await post(guarded, topic, "meanwhile", headers);
      await program.next("open");
      expect((await program.next()).at(-1)).toBe("meanwhile");
    });
  });
}

describe("follow", () => {
  test("without a token stops where one is needed", async () => {
    await using program = await bun({ url: topicsUrl(guarded, "secret") });
    expect((await program.next("stop", "open")).slice(0, 2)).toEqual(["stop", 4401]);
  });

  test("continues on a server that was killed and started again, and reports the gap once", async () => {
    const topic = newTopic();
    await using first = await spawnServer();
    const flags = ["--port", new URL(first.url).port];
    await using program = await bun({ url: topicsUrl(first, topic) });
    await program.next("open");
    await publishEach(first, topic, ["1", "2"]);
    await program.next("message");
    await program.next("message");
    first.process.kill("SIGKILL");
    await first.process.exited;
    await program.next("lost");
    await using second = await spawnServer(flags, { withoutPort: true });
    await publish(second, topic, "3");
    expect((await program.next("gap", "message"))[0]).toBe("gap");
    expect((await program.next("gap", "message")).at(-1)).toBe("3");
    // A drain closes with 1012, and the client comes back at once.
    second.process.kill("SIGTERM");
    expect(await program.next("lost")).toEqual(["lost", 1012]);
    await second.process.exited;
    await using third = await spawnServer(flags, { withoutPort: true });
    await publish(third, topic, "4");
    expect((await program.next("gap", "message"))[0]).toBe("gap");
    expect((await program.next("gap", "message")).at(-1)).toBe("4");
  });

  test("leaves a connection on which nothing arrives any more", async () => {
    let accepted = 0;
    using silent = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: () => void accepted++,
        data: () => undefined,
      },
    });
    await using place = inBun(300);
    await using program = await place.start({ url: `http://127.0.0.1:${silent.port}/topics/a` });
    expect(await program.next()).toEqual(["lost", 1006]);
    await until(() => accepted > 1, "another connection");
  });

  test("stays on a connection that is only silent: the server answers its pings", async () => {
    const topic = newTopic();
    const received = async (): Promise<number> => {
      const text = await (await fetch(new URL("/metrics", server.url))).text();
      return Number(/^longwire_received_messages_total (\d+)/m.exec(text)?.[1]);
    };
    await using program = await hurriedBun({ url: topicsUrl(server, topic) });
    await program.next("open");
    const before = await received();
    await until(async () => {
      await Bun.sleep(200); // Metrics are dear, and a ping comes every 2 s.
      return (await received()) >= before + 4;
    }, "four pings, which no silence without answers lasts");
    await publish(server, topic, "after");
    expect((await program.next()).at(-1)).toBe("after");
  });
});

describe("follow where WebSockets do not pass", () => {
  for (const eating of ["refused", "stripped", "swallowed"] as const) {
    for (const [place, start] of [
      ["Bun", hurriedBun],
      ["Node", hurriedNode],
    ] as const) {
      test.skipIf(place === "Node" && lacks("Node 20.10"))(
        `${eating} in ${place}, goes on over event streams and stays there`,
        async () => {
          await using eater = startUpgradeEater(server.url, eating);
          const topic = newTopic();
          await publish(server, topic, "before");
          await using program = await start({ url: `${topicsUrl(eater, topic)}?since=all` });
          expect(await program.next("open")).toEqual(["open", "eventsource"]);
          expect((await program.next()).at(-1)).toBe("before");
          expect(eater.eaten).toBe(2);
          await publish(server, topic, "live");
          expect((await program.next()).at(-1)).toBe("live");
          const end = await endTopic(topic);
          expect(await program.next()).toEqual(["end", topic, end]);
          expect(await program.next()).toEqual(["stop", 1000, "ended", end]);
          expect(eater.eaten).toBe(2);
        },
      );
    }
  }

  test("tries WebSockets for ever if it is told to, and with more topics than an event stream carries", async () => {
    await using eater = startUpgradeEater(server.url, "refused");
    const topics = Array.from({ length: 21 }, newTopic);
    await using told = await hurriedBun({ url: topicsUrl(eater, "news"), transport: "websocket" });
    await using many = await hurriedBun({ url: topicsUrl(eater, topics.join(",")) });
    for (const program of [told, many])
      for (let lost = 0; lost < 4; lost++) expect(await program.next()).toEqual(["lost", 1006]);
  });

  test("stays with WebSockets while the server is away, and when it is back", async () => {
    const topic = newTopic();
    await using first = await spawnServer();
    await using program = await bun({ url: topicsUrl(first, topic) });
    expect(await program.next("open")).toEqual(["open", "websocket"]);
    first.process.kill("SIGKILL");
    await first.process.exited;
    // It asks by a request at the second and the sixth failure: a server that is back in that very moment seems to pass nothing else.
    for (let lost = 0; lost < 6; lost++) await program.next("lost");
    await using second = await spawnServer(["--port", new URL(first.url).port], { withoutPort: true });
    expect(await program.next("open")).toEqual(["open", "websocket"]);
    expect(second.process.exitCode).toBeNull();
  });
});

describe("follow with a transport of the program", () => {
  /** Collects what `follow` opens. */
  function stage(options: Omit<FollowOptions, "open"> = {}) {
    const opened: {
      readonly opening: Opening;
      readonly receive: (event: object) => void;
      readonly lost: Lost;
    }[] = [];
    const following = follow("ws://localhost/topics/news?since=all", {
      ...options,
      open: (opening, receive, lost) => {
        opened.push({ opening, receive: (event) => receive(event as FollowedMessage), lost });
        return undefined;
      },
    });
    return { opened, following };
  }
  type Lost = Parameters<Open>[2];
  const openEvent = { type: "longwire.open", data: { topics: [{ topic: "news", id: "a-0" }] } };
  const message = (id: string) => ({ type: "longwire.message", topic: "news", id });

  test("stop within onMessage is the last that a program hears, also of a transport that has read on", async () => {
    const heard: string[] = [];
    const { opened, following } = stage({
      onMessage: ({ id }) => {
        heard.push(id);
        following.stop();
      },
      onStop: (code, reason) => heard.push(`${code} ${reason}`),
    });
    await until(() => opened.length > 0, "the connection");
    const [first] = opened;
    first?.receive(openEvent);
    for (const id of ["a-1", "a-2"]) first?.receive(message(id));
    expect([heard, following.cursor, first?.opening.signal.aborted]).toEqual([
      ["a-1", "1000 stopped"],
      "a-1",
      true,
    ]);
  });

  test("comes back when the transport says, with the last id, and takes nothing more of the connection before", async () => {
    const lost: unknown[] = [];
    const { opened, following } = stage({ onLost: (...how) => lost.push(how) });
    await until(() => opened.length === 1, "the connection");
    const [first] = opened;
    expect(first?.opening.url.href).toBe("http://localhost/topics/news?since=all");
    first?.receive(openEvent);
    first?.receive(message("a-1"));
    first?.lost(1006, "cut", 0);
    first?.receive(message("a-2"));
    await until(() => opened.length === 2, "the second connection");
    expect([lost, opened[1]?.opening.url.search]).toEqual([[[1006, "cut", 0]], "?since=a-1"]);
    expect(opened.map(({ opening }) => opening.signal.aborted)).toEqual([true, false]);
    following.stop();
  });
});
