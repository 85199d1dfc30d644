/** docs/protocol.md is the contract: its tables are those of the code, and its clients are run as they are printed. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import { problemTitles } from "../../src/http/problem.ts";
import { settings } from "../../src/settings/config.ts";
import { closeCode } from "../../src/wire/close-code.ts";
import { openCuttableLine } from "../support/cuttable-line.ts";
import { linesOf } from "../support/lines.ts";
import { Random, seed } from "../support/random.ts";
import { exchange, request } from "../support/raw-socket.ts";
import { root } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { commandOf, lacks } from "../support/tool.ts";
import { newTopic, offsetOf, publish } from "../support/topics.ts";
import { Inbox, until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const page = await Bun.file(resolve(root, "docs/protocol.md")).text();

/** The cells of the table that follows a heading. */
function table(heading: string): string[][] {
  const section = page.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("| "));
  return rows.slice(2).map((row) =>
    row
      .slice(1, -1)
      .split(" | ")
      .map((cell) => cell.trim()),
  );
}

describe("docs/protocol.md", () => {
  test("has every close code, and says whether to come back after it", () => {
    const rows = table("Close codes");
    const codes = rows.flatMap(([codes = ""]) => codes.split(", ").map(Number));
    expect(codes.toSorted()).toEqual(Object.values(closeCode).toSorted());
    for (const [, meaning, comeBack] of rows) {
      expect(meaning).not.toBeEmpty();
      expect(comeBack).not.toBeEmpty();
    }
  });

  test("has every status of an error, and the one that Bun answers by itself", () => {
    const statuses = table("Statuses").map(([status]) => Number(status));
    expect(statuses).toEqual([...Object.keys(problemTitles).map(Number), 431].toSorted());
  });

  test("names no event that the code does not have", async () => {
    const files = new Bun.Glob("src/{topic,wire}/*.ts").scan(root);
    const code = (await Array.fromAsync(files, (file) => Bun.file(resolve(root, file)).text())).join();
    const named = new Set([...page.matchAll(/longwire(?:\.[a-z]+)+/g)].map(([name]) => name));
    expect(named.size).toBeGreaterThan(6);
    for (const name of named) expect(code).toContain(`"${name}"`);
  });

  test("points only to headings that it has", () => {
    const headings = [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
      heading
        .toLowerCase()
        .replaceAll(/[^a-z -]/g, "")
        .replaceAll(" ", "-"),
    );
    for (const [, anchor] of page.matchAll(/\]\(#([^)]+)\)/g)) expect(headings).toContain(String(anchor));
  });
});

const server = sharedServer();

describe("the limit of a request's head", () => {
  const statusOf = async (topics: number): Promise<number> => {
    const names = Array.from({ length: topics }, (_, index) => String(index).padEnd(200, "x"));
    return (await exchange(server.url, request("GET", `/topics/${names.join(",")}`))).status;
  };

  test("lets 75 topics with names of 200 characters through, and not 100", async () => {
    expect(await statusOf(75)).toBe(200);
    expect(await statusOf(100)).toBe(431);
  });
});

/** How often the connection of each client is cut. */
const cuts = 20;

/** @returns the program as it is printed, for another port and topic */
function client(language: string, port: string, topic: string): string {
  const found = new RegExp(`<!-- client: ${language} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\`\`\``).exec(page)?.[1];
  if (found === undefined) throw new Error(`docs/protocol.md has no client in ${language}`);
  return found.replaceAll("localhost:9090/topics/demo", `127.0.0.1:${port}/topics/${topic}`);
}

/** `pause` is how a client waits before it comes back, and `brief` the same for a test that has it come back often. */
const clients = [
  {
    language: "javascript",
    isMissing: false,
    command: (code: string) => [process.execPath, "-e", code],
    pause: "waitSeconds * 1000",
    brief: "waitSeconds * 10",
  },
  {
    language: "python",
    isMissing: lacks("Python's websockets"),
    command: (code: string) => [commandOf("Python's websockets"), "-c", code],
    pause: "random.random() * 2",
    brief: "random.random() * 0.02",
  },
  {
    language: "bash",
    isMissing: lacks("curl"),
    command: (code: string) => ["bash", "-c", code],
    pause: "sleep 1",
    brief: "sleep 0.01",
  },
] as const;

describe("the clients of docs/protocol.md", () => {
  for (const { language, isMissing, command } of clients) {
    const name = `the one in ${language} gets every message once and in order though its line is cut`;
    test.skipIf(isMissing)(name, async () => {
      using line = openCuttableLine(server.url);
      const demo = newTopic();
      const topic = new URL(`/topics/${demo}`, server.url);
      const publish = async (text: string): Promise<void> => {
        const answer = await fetch(topic, { method: "POST", body: text });
        expect(answer.status).toBe(200);
      };
      const follower = Bun.spawn(command(client(language, line.url.port, demo)), {
        stdout: "pipe",
        stderr: "inherit",
      });
      try {
        const lines = readLines(follower.stdout);
        await subscribed(topic, 1);
        await publish(`${language} 1`);
        expect(await lines()).toBe(`${language} 1`);
        line.cut();
        await subscribed(topic, 0);
        await publish(`${language} 2`);
        await publish(`${language} 3`);
        expect(await lines()).toBe(`${language} 2`);
        expect(await lines()).toBe(`${language} 3`);
        await publish(`${language} 4`);
        expect(await lines()).toBe(`${language} 4`);
      } finally {
        follower.kill("SIGKILL");
        await follower.exited;
        line.cut(); // For curl, which outlives its shell.
        await subscribed(topic, 0);
      }
    });
  }
});

describe("the clients of docs/protocol.md, at the end of their topic", () => {
  for (const { language, isMissing, command } of clients) {
    const name = `the one in ${language} prints messages of every type, and does not come back after the end`;
    test.skipIf(isMissing)(name, async () => {
      const demo = newTopic();
      const topic = new URL(`/topics/${demo}`, server.url);
      const follower = Bun.spawn(command(client(language, server.url.port, demo)), {
        stdout: "pipe",
        stderr: "inherit",
      });
      await subscribed(topic, 1);
      await fetch(topic, { method: "POST", body: "typed", headers: { "ce-type": "token" } });
      // A message of --max-message is larger in its envelope, which the default limit of Python's client does not allow.
      const last = language === "python" ? "x".repeat(settings.messageBytesMax.default) : "last";
      await fetch(`${topic}?end`, { method: "POST", body: last });
      const printed = await within(new Response(follower.stdout).text(), "the client to end");
      expect(printed).toBe(`typed\n${last}\n`);
      expect(await follower.exited).toBe(0);
    });
  }
});

describe("the clients of docs/protocol.md, where coming back would not help", () => {
  const guarded = sharedServer(["--api-key", "an-api-key-of-32-characters-0001"]);
  /** Closes with 4403 what it accepts, as a server does with a page. */
  const forbidding = Bun.serve({
    port: 0,
    fetch: (request, server) => (server.upgrade(request) ? undefined : new Response()),
    websocket: { open: (socket) => socket.close(4403, "not this topic"), message() {} },
  });
  afterAll(() => forbidding.stop(true));

  for (const { language, isMissing, command } of clients) {
    const stops = async (port: string): Promise<string> => {
      const follower = Bun.spawn(command(client(language, port, "demo")), {
        stdout: "ignore",
        stderr: "pipe",
      });
      try {
        const errors = await within(new Response(follower.stderr).text(), "the client to stop");
        expect(await follower.exited).toBe(1);
        return errors;
      } finally {
        follower.kill("SIGKILL");
      }
    };

    test.skipIf(isMissing)(`the one in ${language} stops with an error that names 401`, async () => {
      expect(await stops(guarded.url.port)).toContain("401");
    });

    if (language === "bash") continue; // An event stream has no close code.
    test.skipIf(isMissing)(`the one in ${language} stops with an error that names 4403`, async () => {
      expect(await stops(String(forbidding.port))).toContain("4403");
    });
  }
});

describe("the clients of docs/protocol.md, cut after any number of bytes", () => {
  const forgetful = sharedServer(["--history-messages", "3"]);

  for (const { language, isMissing, command, pause, brief } of clients) {
    const name = `the one in ${language} is told every gap and gets every other message once`;
    test.skipIf(isMissing)(name, async () => {
      const random = new Random(seed);
      let connections = -1;
      let isAway = false;
      // The head of an answer, longwire.open and a gap are about 250 bytes each.
      using line = openCuttableLine(forgetful.url, () => {
        if (isAway) return 0;
        return ++connections > 0 && connections <= cuts ? random.below(1500) : Number.POSITIVE_INFINITY;
      });
      const topic = newTopic();
      const url = new URL(`/topics/${topic}`, forgetful.url);
      const code = client(language, line.url.port, topic);
      expect(code).toContain(pause);
      const follower = Bun.spawn(command(code.replace(pause, brief)), { stdout: "pipe", stderr: "inherit" });
      try {
        const lines = readLines(follower.stdout);
        await subscribed(url, 1);
        const ids = new Map<string, string>();
        const publishNext = async (text = `${ids.size}`): Promise<void> => {
          ids.set(text, await publish(forgetful, topic, text));
        };
        await publishNext("first");
        expect(await lines()).toBe("first");
        line.cut();
        while (connections < cuts) {
          // At times faster than the client comes back, so that it meets gaps, and at times not.
          for (let count = random.below(5); count > 0; count--) await publishNext();
          await Bun.sleep(random.pick([0, 10, 40]));
        }
        for (let round = 0; round < 3; round++) {
          isAway = true;
          line.cut();
          await subscribed(url, 0);
          for (let count = 0; count < 4; count++) await publishNext();
          isAway = false;
          await subscribed(url, 1);
        }
        await publishNext("last");
        const { gaps, messages } = await follow(lines, ids);
        expect(gaps).toBeGreaterThan(2);
        expect(messages).toBeGreaterThan(cuts / 10);
      } finally {
        follower.kill("SIGKILL");
        await follower.exited;
      }
    });
  }
});

/**
 * Reads what a client printed, from the first message to the last.
 * @throws where a message came twice or is missing without a gap
 */
async function follow(
  lines: () => Promise<string>,
  ids: ReadonlyMap<string, string>,
): Promise<{ gaps: number; messages: number }> {
  let at = offsetOf(String(ids.get("first")));
  const found = { gaps: 0, messages: 0 };
  for (;;) {
    const line = await lines();
    const from = /^gap (\S+)$/.exec(line)?.[1];
    const offset = offsetOf(String(from ?? ids.get(line)));
    if (from === undefined ? offset !== at + 1 : offset <= at) {
      throw new Error(`after the message ${at} of the topic the client printed ${line}, which is ${offset}`);
    }
    at = offset;
    if (from === undefined) found.messages++;
    else found.gaps++;
    if (line === "last") return found;
  }
}

/** Waits until the server counts so many subscribers. */
async function subscribed(topic: URL, count: number): Promise<void> {
  await until(async () => {
    const answer = (await (await fetch(topic)).json()) as { topics: [{ subscribers: number }] };
    return answer.topics[0].subscribers === count;
  }, `${count} subscribers`);
}

/** Reads all the time, so that a program never waits until someone takes its lines. */
function readLines(stream: ReadableStream<Uint8Array>): () => Promise<string> {
  const inbox = new Inbox<string>();
  const read = async (): Promise<void> => {
    for await (const line of linesOf(stream)) inbox.put(line);
    inbox.end(new Error("the program ended"));
  };
  read().catch((error) => inbox.end(error));
  return () => inbox.take("a line of the client", 30);
}
