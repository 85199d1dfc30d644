/** What goes wrong for one connection goes wrong for no other, and is told once. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import type { Client } from "../support/bun-client.ts";
import { openWs } from "../support/clients.ts";
import { exchange, frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { type RunningServer, root, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const preload = resolve(root, "test/support/faults.ts");
const faulty = [process.execPath, "--preload", preload, resolve(root, "src/index.ts")];
const application = [process.execPath, resolve(root, "test/support/application.ts")];

const shared = sharedServer([], { command: faulty });

interface Scene extends AsyncDisposable {
  readonly server: RunningServer;
  /** Open before the fault. */
  readonly bystander: Client;
  /** Errors in the log since it was opened. */
  errors(): ReturnType<RunningServer["log"]>;
}

/** @param command of a server of its own, in place of the one of all tests */
async function scene(command?: readonly string[]): Promise<Scene> {
  const server = command ? await spawnServer([], { command }) : shared;
  const linesBefore = server.log().length;
  const bystander = await openWs(server.socketUrl());
  return {
    server,
    bystander,
    errors: () =>
      server
        .log()
        .slice(linesBefore)
        .filter(({ level }) => Number(level) >= 50),
    [Symbol.asyncDispose]: async () => {
      bystander[Symbol.dispose]();
      if (command) await server[Symbol.asyncDispose]();
    },
  };
}

/** The bystander, a newcomer and the page are served as if nothing had been. */
async function expectUnharmed({ server, bystander }: Scene): Promise<void> {
  using newcomer = await openWs(server.socketUrl());
  for (const client of [bystander, newcomer]) {
    client.send("ping");
    expect(await client.next()).toBe("pong");
  }
  expect((await fetch(server.url)).status).toBe(200);
  expect(server.process.exitCode).toBeNull();
}

/** Exactly one error is logged, with its cause. It is over when a later error, made on purpose, has been logged, too. */
async function expectLoggedOnce({ server, errors }: Scene, cause: unknown): Promise<void> {
  await until(() => errors().length > 0, "an error in the log");
  const answer = await fetch(server.url, { headers: { "X-Fault": "throw" } });
  expect(answer.status).toBe(500);
  await until(() => errors().some(({ msg }) => msg === "a request failed"), "the later error");
  const [first, ...others] = errors();
  expect(first?.err).toEqual(cause);
  expect(others).toHaveLength(1);
}

const withStack = (message: string) =>
  expect.objectContaining({ message, stack: expect.stringContaining("faults.ts") });

describe("in the line, a throw", () => {
  const throws: Record<string, { message: string; cause: unknown }> = {
    "in message": { message: "throw", cause: withStack("thrown in message") },
    "of what is no Error": { message: "throw no error", cause: "thrown as text" },
    "in drain": { message: "throw on drain", cause: withStack("thrown in drain") },
  };
  for (const [name, { message, cause }] of Object.entries(throws)) {
    test(`${name} closes that connection with 1011, is logged once with its cause, and harms no other`, async () => {
      await using stage = await scene();
      using client = await openWs(stage.server.socketUrl());
      client.send(message);
      expect((await within(client.closed, "a close")).code).toBe(1011);
      await expectUnharmed(stage);
      await expectLoggedOnce(stage, cause);
    });
  }

  test("of nothing at all closes that connection with 1011 and harms no other", async () => {
    await using stage = await scene();
    using client = await openWs(stage.server.socketUrl());
    client.send("throw nothing");
    expect((await within(client.closed, "a close")).code).toBe(1011);
    await expectUnharmed(stage);
    await until(() => stage.errors().length === 1, "an error in the log");
  });

  test("in open closes that connection, is logged once with its cause, and harms no other", async () => {
    await using stage = await scene();
    stage.bystander.send("throw on open");
    expect(await stage.bystander.next()).toBe("throw on open");
    const opening = openWs(stage.server.socketUrl());
    await opening.then(
      async (client) => expect((await within(client.closed, "a close")).code).toBeOneOf([1006, 1011]),
      (error) => expect(error).toBeInstanceOf(Error),
    );
    await expectUnharmed(stage);
    await expectLoggedOnce(stage, withStack("thrown in open"));
  });

  test("in close is logged once with its cause, and harms no other", async () => {
    await using stage = await scene();
    using client = await openWs(stage.server.socketUrl());
    client.send("throw on close");
    expect(await client.next()).toBe("throw on close");
    client.close(1000);
    expect((await within(client.closed, "a close")).code).toBe(1000);
    await expectUnharmed(stage);
    await expectLoggedOnce(stage, withStack("thrown in close"));
  });

  test("in a flood is logged once with its cause, and nothing that came after it is handled", async () => {
    await using stage = await scene();
    using client = await RawSocket.open(stage.server.socketUrl());
    const texts = [...Array<string>(1000).fill("x"), "throw", "reject"];
    client.write(Buffer.concat(texts.map((text) => frame(opcodes.text, text))));
    await until(() => stage.errors().length > 0, "an error in the log");
    await expectUnharmed(stage);
    await expectLoggedOnce(stage, withStack("thrown in message"));
  });

  test("a hundred times over leaves the others as they were", async () => {
    await using stage = await scene();
    for (let round = 0; round < 100; round++) {
      using client = await openWs(stage.server.socketUrl());
      client.send("throw");
      expect((await within(client.closed, "a close")).code).toBe(1011);
    }
    await expectUnharmed(stage);
    await until(() => stage.errors().length === 100, "a hundred errors in the log");
  });
});

describe("what no handler sees", () => {
  for (const [message, cause] of [
    ["reject", "rejected in message"],
    ["throw later", "thrown in message"],
  ] as const) {
    test(`after "${message}" every connection lives, and it is logged once with its cause`, async () => {
      await using stage = await scene();
      using client = await openWs(stage.server.socketUrl());
      client.send(message);
      expect(await client.next()).toBe(message);
      await expectLoggedOnce(stage, withStack(cause));
      await expectUnharmed(stage);
      client.send("ping");
      expect(await client.next()).toBe("pong");
    });
  }
});

describe("a request that fails", () => {
  for (const path of ["/", "/ping", "/page.css"]) {
    test(`on ${path} is answered with 500 and nothing of the inside, and logged once with its cause`, async () => {
      await using stage = await scene();
      const response = await fetch(new URL(path, stage.server.url), { headers: { "X-Fault": "throw" } });
      expect(response.status).toBe(500);
      expect(response.headers.get("Content-Type")).toBe("application/problem+json");
      const body = await response.text();
      await until(() => stage.errors().length > 0, "an error in the log");
      expect(JSON.parse(body)).toEqual({
        title: "Internal Server Error",
        status: 500,
        detail: `A fault of the server; its log has the cause, as ${stage.errors()[0]?.requestId}.`,
      });
      await expectUnharmed(stage);
      expect(stage.errors()).toHaveLength(1);
      expect(stage.errors()[0]?.err).toEqual(withStack("thrown in a request"));
    });
  }

  test("in its handshake is answered with 500, and opens nothing", async () => {
    await using stage = await scene();
    const headers = { ...handshakeHeaders, "X-Fault": "throw" };
    expect((await exchange(stage.server.url, request("GET", "/ping", headers))).status).toBe(500);
    await expectUnharmed(stage);
    await until(() => stage.errors().length === 1, "an error in the log");
  });
});

test("the server lives on when nobody reads its log any more", async () => {
  const server = Bun.spawn([...faulty, "--port", "0", "--log-level", "debug"], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  try {
    await server.stderr.cancel();
    const reader = server.stdout.getReader();
    const { value } = await reader.read();
    const url = /http:\/\/localhost:\d+/.exec(new TextDecoder().decode(value))?.[0];
    using bystander = await openWs(`${url?.replace("http", "ws")}/ping`);
    for (const message of ["throw", "throw", "reject", "reject", "throw later"]) {
      using client = await openWs(`${url?.replace("http", "ws")}/ping`);
      client.send(message);
      if (message === "throw") await within(client.closed, "a close");
      else await client.next();
      bystander.send("ping");
      expect(await bystander.next()).toBe("pong");
    }
    server.kill("SIGTERM");
    expect((await within(bystander.closed, "a close")).code).toBe(1012);
    expect(await within(server.exited, "the end of the process")).toBe(0);
  } finally {
    server.kill("SIGKILL");
  }
});

describe("an application that Longwire is mounted into", () => {
  test("may throw in its own handlers: that connection is closed, it is logged once, and no other is harmed", async () => {
    await using stage = await scene(application);
    for (const [path, message] of [
      ["/throw-in-open", ""],
      ["/chat", "throw"],
      ["/throw-in-close", "throw"],
    ] as const) {
      const before = stage.errors().length;
      const opening = openWs(stage.server.socketUrl(path));
      await opening.then(
        async (client) => {
          client.send(message);
          expect((await within(client.closed, "a close")).code).toBeOneOf([1006, 1011]);
        },
        (error) => expect(path, `${error}`).toBe("/throw-in-open"),
      );
      await until(() => stage.errors().length > before, "an error in the log");
    }
    await expectUnharmed(stage);
    expect(stage.errors().map(({ err }) => (err as Error).message)).toEqual([
      "the application's open",
      "the application's message",
      "the application's message",
      "the application's close",
    ]);
  });

  test("handles what it throws by its own error handler, where it has one", async () => {
    await using stage = await scene([...application, "--own-error"]);
    using client = await openWs(stage.server.socketUrl("/chat"));
    client.send("throw");
    client.send("and stays open, as its error handler leaves it");
    expect(await client.next()).toBe("and stays open, as its error handler leaves it");
    await expectUnharmed(stage);
    expect(stage.errors()).toEqual([]);
    stage.server.process.kill();
    expect(await stage.server.errors).toContain("own error handler: the application's message");
  });

  test("does not end the process even by a throw in its error handler", async () => {
    await using stage = await scene([...application, "--own-error", "--error-throws"]);
    using client = await openWs(stage.server.socketUrl("/chat"));
    client.send("throw");
    await until(() => stage.errors().length > 0, "an error in the log");
    await expectUnharmed(stage);
    expect(stage.errors().map(({ err }) => (err as Error).message)).toEqual(["the application's error"]);
  });
});
