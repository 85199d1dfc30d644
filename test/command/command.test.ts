/** The command: its flags, output, exit codes, signals and log. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { version } from "../../package.json";
import { startLines } from "../../src/command/start-lines.ts";
import { tokenSettings } from "../../src/command/token-settings.ts";
import { startServer } from "../../src/server.ts";
import { type Setting, settings } from "../../src/settings/config.ts";
import { cpuMicroseconds } from "../bench/process-usage.ts";
import { openWs } from "../support/clients.ts";
import { configOf, mistakeIn } from "../support/command-line.ts";
import { compiledServer } from "../support/compiled.ts";
import { freePort } from "../support/free-port.ts";
import { frame, opcodes, RawSocket } from "../support/raw-socket.ts";
import { recordingLog } from "../support/recording-log.ts";
import { type RunningServer, runCommand, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { lacks } from "../support/tool.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

/** Of this machine, as all of 127.0.0.0/8 is, and used by nothing else: a port that was freed stays free here. */
const quietAddress = "127.91.0.1";

const aKey = "an-api-key-of-32-characters-0001";
const aSecret = "a-secret-for-tokens-of-40-characters-001";

describe("help and version", () => {
  test("--help shows every flag once, grouped, with its default, and exits 0", async () => {
    for (const flag of ["--help", "-h"]) {
      const { exitCode, output, errors } = await runCommand([flag]);
      expect(exitCode).toBe(0);
      expect(errors).toBe("");
      const shown = [...output.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map(([, word]) => word);
      expect(shown.toSorted()).toEqual([...flagWords(settings), "--help", "--version"].toSorted());
      const [first = "", ...others] = output
        .split("\n\n")
        .filter((part) => /^[A-Z][^\n]*:\n {2}-/.test(part));
      expect([...first.matchAll(/^ {2}--([a-z-]+)/gm)].map(([, word]) => word)).toEqual([
        "port",
        "host",
        "api-key",
        "api-key-file",
      ]);
      expect(others.length).toBeGreaterThan(3);
      for (const line of output.split("\n")) expect(`${line} ${line.length > 110}`).toEndWith("false");
      for (const { flag, unit, default: value, defaultWith, help } of Object.values<Setting<unknown>>(
        settings,
      )) {
        const other = defaultWith ? `; ${unit.show(defaultWith.value)} with --${defaultWith.flag}` : "";
        const known = ["", "false"].includes(unit.show(value))
          ? help
          : `${help} (${unit.show(value)}${other})`;
        expect(output).toMatch(new RegExp(`--${flag}\\b.*\\s+${RegExp.escape(known)}\n`));
      }
      expect(output).toContain("--max-message is LONGWIRE_MAX_MESSAGE");
    }
  });

  test("token --help shows the flags of a token and no other", async () => {
    const { exitCode, output } = await runCommand(["token", "--help"]);
    expect(exitCode).toBe(0);
    const shown = [...output.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map(([, word]) => word);
    expect(shown.toSorted()).toEqual([...flagWords(tokenSettings), "--help"].toSorted());
  });

  test("--version prints the version alone and exits 0", async () => {
    for (const flag of ["--version", "-v"]) {
      expect(await runCommand([flag])).toEqual({ exitCode: 0, output: `${version}\n`, errors: "" });
    }
  });
});

describe("starting", () => {
  const server = sharedServer();

  test("the server is ready in well under a second", async () => {
    // The time on a processor: a machine that is busy with other tests makes a start wait.
    expect(cpuMicroseconds(server.process.pid) / 1e6).toBeLessThan(1);
  });

  test("three lines say where the page and the echo line are, and they are there", async () => {
    const lines = server.startLines.trimEnd().split("\n");
    expect(lines.length).toBe(3);
    expect(lines[2]).toStartWith("Open: no key is set");
    const [page] = /http:\/\/localhost:\d+\//.exec(server.startLines) ?? [];
    const [line] = /ws:\/\/localhost:\d+\/ping/.exec(server.startLines) ?? [];
    const { headers } = await fetch(String(page), { headers: { Accept: "text/html" } });
    expect(headers.get("Content-Type")).toContain("text/html");
    using client = await openWs(String(line));
    client.send("ping");
    expect(await client.next()).toBe("pong");
  });

  test.skipIf(lacks("curl"))("the commands of the start lines follow a topic and publish to it", async () => {
    const [, follow = "", publish = ""] =
      /: (curl -N .*) — and publish: (curl .*)/.exec(server.startLines) ?? [];
    const following = Bun.spawn(["sh", "-c", `exec ${follow}`], { stdout: "pipe", stderr: "ignore" });
    try {
      const stream = new StreamText(following.stdout);
      await stream.until("longwire.open");
      expect(
        await new Response(Bun.spawn(["sh", "-c", publish], { stderr: "ignore" }).stdout).text(),
      ).toContain('"published"');
      await stream.until("data: hello");
    } finally {
      following.kill("SIGKILL");
    }
  });

  test("the last start line says what is open and what is guarded", async () => {
    for (const [flags, expected] of [
      [
        [],
        "Open: no key is set, so every program on this machine may publish and subscribe; --api-key guards it",
      ],
      [["--insecure"], "Open: no key is set, so everyone who reaches it may publish"],
      [["--api-key", aKey], "Guarded: topics need the API key, as Authorization: Bearer …; /ping is open"],
      [
        ["--jwt-secret", aSecret, "--public", "news,a/*", "--private-ping"],
        "Guarded: topics need a token that allows them, as Authorization: Bearer …; anyone may subscribe to news, a/*",
      ],
    ] as const) {
      const config = await configOf(flags);
      const lines = startLines(new URL("http://localhost:9090/"), config, { available: true });
      expect(lines.split("\n")[2]).toStartWith(expected);
    }
  });

  test("a fourth start line says which Redis is away, without its password", async () => {
    await using server = await spawnServer(["--redis", `redis://:hunter2@127.0.0.1:${await freePort()}/3`]);
    const [, , , line = "", ...more] = server.startLines.trimEnd().split("\n");
    expect(line).toMatch(
      /^Away: Redis at redis:\/\/127\.0\.0\.1:\d+\/3 cannot be used \(.*ECONNREFUSED.*\)\. Topics are answered with 503/,
    );
    expect(more).toEqual([]);
  });

  test("on a terminal there are three lines and nothing else, and the settings come at --log-level debug", async () => {
    for (const [flags, hasSettings] of [
      [[], false],
      [["--log-level", "debug"], true],
    ] as const) {
      const shown = await terminalOf(flags);
      expect(shown.includes("historyMessages: 10000")).toBe(hasSettings);
      expect(shown.split("\n").length > 4).toBe(hasSettings);
    }
  });

  test("--insecure on an address of other machines is a warning, and on loopback it is none", async () => {
    for (const [flags, warnings] of [
      [
        ["--insecure", "--host", "0.0.0.0"],
        [{ fields: { host: "0.0.0.0" }, message: expect.stringContaining("open to other machines") }],
      ],
      [["--api-key", aKey, "--host", "0.0.0.0"], []],
      [["--insecure"], []],
    ] as const) {
      const log = recordingLog();
      await (await startServer(await configOf([...flags, "--port", "0"]), log, undefined)).stop();
      expect(log.lines).toContainEqual(expect.objectContaining({ level: "info", message: "listening" }));
      expect(log.lines.filter(({ level }) => level === "warn")).toMatchObject(warnings);
    }
  });

  test("--host decides where it listens, and an IPv6 address is printed in brackets", async () => {
    await using server = await spawnServer(["--host", "::1"]);
    expect((await fetch(`http://[::1]:${server.url.port}/`)).status).toBe(200);
    await using named = await spawnServer(["--host", quietAddress]);
    expect(named.url.hostname).toBe(quietAddress);
    expect((await fetch(named.url)).status).toBe(200);
    await expect(fetch(`http://127.91.0.2:${named.url.port}/`)).rejects.toThrow();
  });

  test("a taken port ends the command with 1 and an advice", async () => {
    const { exitCode, output, errors } = await runCommand(["--port", server.url.port]);
    expect(exitCode).toBe(1);
    expect(output).toBe("");
    expectOneLine(errors, `port ${server.url.port}`);
    expect(errors).toContain("--port");
  });

  test("an address that this machine does not have ends the command with 1 and names it", async () => {
    const { exitCode, errors } = await runCommand(["--host", "192.0.2.1", "--port", "0", "--insecure"]);
    expect(exitCode).toBe(1);
    expectOneLine(errors, "192.0.2.1");
  });
});

describe("settings", () => {
  const server = sharedServer([], {
    withoutPort: true,
    environment: {
      LONGWIRE_PORT: "0",
      LONGWIRE_MAX_MESSAGE: "2KiB",
      PORT: "no port at all",
      // Of another command, and what Kubernetes sets for services.
      LONGWIRE_SUBSCRIBE: "news",
      LONGWIRE_SERVICE_HOST: "10.0.0.1",
      LONGWIRE_SERVICE_PORT_HTTP: "9090",
      LONGWIRE_PORT_9090_TCP_ADDR: "10.0.0.1",
      LONGWIRE_REDIS_PORT: "tcp://10.0.0.2:6379",
    },
  });

  test("an environment variable sets what its flag sets, and others of its prefix are no mistakes", async () => {
    expect(server.url.port).not.toBe(`${settings.port.default}`);
    expect(await closeCodeAfter(server, 2 * 1024)).toBe(1000);
    expect(await closeCodeAfter(server, 2 * 1024 + 1)).toBe(1009);
  });

  test("a flag outranks its environment variable", async () => {
    const environment = { LONGWIRE_PORT: "1", LONGWIRE_MAX_MESSAGE: "2KiB" };
    const config = await configOf(["--max-message", "4KiB", "--port", "0"], environment);
    expect(config).toMatchObject({ messageBytesMax: 4 * 1024, port: 0 });
  });

  test("a switch needs no value or takes one, a value may be joined by =, and the last of several counts", async () => {
    const words = ["--insecure", "--private-ping", "false", "--host=::1", "--max-rate", "1", "--max-rate=2"];
    expect(await configOf(words)).toMatchObject({
      insecure: true,
      privatePing: false,
      host: "::1",
      messagesPerSecondMax: 2,
    });
  });

  test("a variable that no setting has is refused like a flag, with the nearest name", async () => {
    for (const [name, advice] of [
      ["LONGWIRE_API_KEYS", "the nearest is LONGWIRE_API_KEY"],
      ["LONGWIRE_OPERATION_PORT", "the nearest is LONGWIRE_OPERATIONS_PORT"],
      ["LONGWIRE_FAVOURITE_COLOUR", "longwire --help shows all"],
    ] as const) {
      expectOneLine(await mistakeIn([], { [name]: "1" }), `There is no variable ${name}; ${advice}`);
    }
  });

  test("PORT is honoured where LONGWIRE_PORT is not set, and outranked where it is", async () => {
    expect((await configOf([], { PORT: "1234" })).port).toBe(1234);
    expect((await configOf([], { PORT: "no port at all", LONGWIRE_PORT: "0" })).port).toBe(0);
  });

  test("a mistake in a flag or in a variable ends the command with 2 and its one line", async () => {
    for (const [flags, environment, word] of [
      [["--colour", "red"], {}, "--colour"],
      [[], { PORT: "web" }, "PORT"],
    ] as const) {
      const { exitCode, output, errors } = await runCommand(flags, { environment });
      expect([exitCode, output]).toEqual([2, ""]);
      expectOneLine(errors, word);
    }
  });

  const mistakes: Record<string, { flags: string[]; environment?: Record<string, string>; said: string[] }> =
    {
      "an unknown flag": { flags: ["--colour", "red"], said: ["--colour"] },
      "a misspelt flag": { flags: ["--max-mesage", "1KiB"], said: ["--max-mesage", "--max-message"] },
      "an argument too many": { flags: ["--port", "0", "9090"], said: ["argument"] },
      "a word that is no command": { flags: ["9090"], said: ["9090", "check, token and data"] },
      "a misspelt command": { flags: ["chek", "localhost"], said: ["chek", '"longwire check"'] },
      "the command of other servers": { flags: ["serve"], said: ['"longwire" without a command'] },
      "a word in place of --help": { flags: ["help"], said: ['"longwire --help"'] },
      "an origin without its scheme": {
        flags: ["--origin", "https://a.example,b.example"],
        said: ['not "b.example"; the nearest is https://b.example'],
      },
      "an origin with a path": {
        flags: ["--origin", "http://a.example:80/page"],
        said: ["the nearest is http://a.example"],
      },
      "an origin on this machine": {
        flags: ["--origin", "localhost:3000"],
        said: ["the nearest is http://localhost:3000"],
      },
      "an origin with a star, which would match nothing": {
        flags: ["--origin", "https://*.example"],
        said: ["https://*.example"],
      },
      "a flag without its value": { flags: ["--port"], said: ["--port", "<number>"] },
      "a flag with another in place of its value": {
        flags: ["--host", "--insecure"],
        said: ["--host", "<host>"],
      },
      "a switch with a value that is none": {
        flags: ["--insecure", "yes"],
        said: ["--insecure", "yes", "true"],
      },
      "an unknown flag after a switch": { flags: ["--insecure", "--colour"], said: ["--colour"] },
      "an unknown short flag": { flags: ["-p", "0"], said: ["-p"] },
      "a port out of range": { flags: ["--port", "70000"], said: ["--port", "70000", "65535"] },
      "a port that is no number": { flags: ["--port", "http"], said: ["--port", "http"] },
      "a size that is none": {
        flags: ["--max-message", "1 apple"],
        said: ["--max-message", "1 apple", "1MiB"],
      },
      "a time without its unit": {
        flags: ["--heartbeat-interval", "25"],
        said: ["--heartbeat-interval", "90s"],
      },
      "an unknown log level": { flags: ["--log-level", "loud"], said: ["--log-level", "loud", "debug"] },
      "an empty host": { flags: ["--host", ""], said: ["--host"] },
      "a bad environment variable": {
        flags: [],
        environment: { LONGWIRE_MAX_MESSAGE: "much" },
        said: ["LONGWIRE_MAX_MESSAGE", "much"],
      },
      "a bad PORT": { flags: [], environment: { PORT: "web" }, said: ["PORT", "web"] },
    };
  for (const [name, { flags, environment, said }] of Object.entries(mistakes)) {
    test(`${name} is refused in one clear line`, async () => {
      const error = await mistakeIn(flags, environment);
      for (const word of said) expectOneLine(error, word);
    });
  }
});

const large = frame(opcodes.binary, Buffer.alloc(1024 * 1024));

for (const [signal, code] of [
  ["SIGINT", 1001], // A person at the terminal.
  ["SIGTERM", 1012], // A deploy.
] as const) {
  describe(signal, () => {
    test(`closes every socket with ${code} and ends the process with 0`, async () => {
      await using server = await spawnServer();
      const peers = await Promise.all(Array.from({ length: 20 }, () => openWs(server.socketUrl())));
      server.process.kill(signal);
      for (const peer of peers) expect((await within(peer.closed, "a close")).code).toBe(code);
      expect(await within(server.process.exited, "the end of the process")).toBe(0);
    });

    test("ends the process within a few seconds though a peer does not read and a request never ends", async () => {
      await using server = await spawnServer();
      using stuck = await RawSocket.open(server.socketUrl());
      stuck.pause();
      for (let i = 0; i < 21; i++) stuck.write(large);
      using unfinished = await RawSocket.connect(server.url);
      unfinished.write("GET / HTTP/1.1\r\n");
      using peer = await openWs(server.socketUrl()); // Once this is open the half request has been read, too.
      server.process.kill(signal);
      expect((await within(peer.closed, "a close")).code).toBe(code);
      expect(await within(server.process.exited, "the end of the process")).toBe(0);
    });

    test("refuses new connections while it stops, and a second one ends the process at once", async () => {
      await using server = await spawnServer(["--host", quietAddress]);
      using unfinished = await RawSocket.connect(server.url);
      unfinished.write("GET / HTTP/1.1\r\n"); // Stopping waits for the rest of it.
      using peer = await openWs(server.socketUrl());
      server.process.kill(signal);
      await within(peer.closed, "a close");
      await expect(fetch(server.url)).rejects.toThrow();
      expect(server.process.exitCode).toBeNull();
      server.process.kill(signal);
      expect(await within(server.process.exited, "the end of the process")).toBe(1);
    });
  });
}

describe("the log", () => {
  test("is JSON lines on stderr where that is no terminal, to the last one before the process ends", async () => {
    for (let round = 0; round < 4; round++) {
      await using server = await spawnServer();
      using client = await openWs(server.socketUrl());
      client.close(1000);
      await within(client.closed, "a close");
      server.process.kill("SIGTERM");
      expect(await within(server.process.exited, "the end of the process")).toBe(0);
      const lines = (await server.errors).trimEnd().split("\n");
      // Of a connection there is none at the level "info".
      expect(lines.map((line) => JSON.parse(line))).toMatchObject([
        { level: 30, msg: "listening", messageBytesMax: 1024 * 1024 },
        { level: 30, signal: "SIGTERM", msg: expect.stringContaining("stopping") },
        { level: 30, msg: "draining" },
        { level: 30, msg: "stopped" },
      ]);
    }
  });

  for (const [signals, exitCode] of [
    [["SIGTERM"], 0],
    [["SIGTERM", "SIGINT"], 1],
  ] as const) {
    test(`does not keep the process from ending on ${signals.join(" and ")} while its reader is stuck`, async () => {
      const folder = await mkdtemp(join(tmpdir(), "longwire-log-"));
      const pipe = join(folder, "pipe");
      await Bun.spawn(["mkfifo", pipe]).exited;
      const filling = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
      const stuck = openSync(pipe, constants.O_RDWR);
      expect(() => {
        for (;;) writeSync(filling, Buffer.alloc(4096));
      }).toThrow("EAGAIN");
      const program = [await compiledServer(), "--port", "0"];
      const server = Bun.spawn(program, { stdin: "ignore", stdout: "pipe", stderr: stuck });
      try {
        const { value } = await within(server.stdout.getReader().read(), "the first line");
        expect(new TextDecoder().decode(value)).toContain("http://");
        for (const signal of signals) server.kill(signal);
        expect(await within(server.exited, "the end of the process")).toBe(exitCode);
      } finally {
        server.kill("SIGKILL");
        for (const file of [filling, stuck]) closeSync(file);
        await rm(folder, { recursive: true });
      }
    });
  }

  test("has a line for each connection opened and closed at --log-level debug", async () => {
    await using server = await spawnServer(["--log-level", "debug"]);
    using client = await openWs(server.socketUrl());
    client.close(1000, "seen enough");
    await within(client.closed, "a close");
    expect(await server.logged("connection opened")).toMatchObject({ level: 20, address: "127.0.0.1" });
    expect(await server.logged("connection closed")).toMatchObject({ code: 1000, reason: "seen enough" });
  });

  test("is empty at --log-level silent", async () => {
    await using server = await spawnServer(["--log-level", "silent"]);
    server.process.kill("SIGTERM");
    await within(server.process.exited, "the end of the process");
    expect(await server.errors).toBe("");
  });
});

/** Reads a program's output until a text has come. */
class StreamText {
  #text = "";
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  async until(expected: string): Promise<void> {
    const decoder = new TextDecoder();
    while (!this.#text.includes(expected)) {
      const { value, done } = await within(this.#reader.read(), expected);
      if (done) throw new Error(`the output ended before "${expected}": ${this.#text}`);
      this.#text += decoder.decode(value, { stream: true });
    }
  }
}

/** What a person sees who starts the server on a terminal, until it answers. */
async function terminalOf(flags: readonly string[]): Promise<string> {
  let shown = "";
  const decoder = new TextDecoder();
  const running = Bun.spawn([await compiledServer(), "--port", "0", ...flags], {
    env: { ...process.env, NO_COLOR: "1" },
    terminal: {
      data: (_, bytes) => {
        shown += decoder.decode(bytes, { stream: true });
      },
    },
  });
  try {
    await until(() => /Open: .*\r?\n/.test(shown), "the third line");
    const [url = ""] = /http:\S+/.exec(shown) ?? [];
    expect((await fetch(new URL("/healthz", url))).status).toBe(200);
    running.kill("SIGINT");
    await within(running.exited, "the end of the server");
  } finally {
    running.kill("SIGKILL");
  }
  const [atStart = ""] = shown.replaceAll("\r\n", "\n").split(/^.*stopping;/m);
  return atStart;
}

function flagWords(declared: Readonly<Record<string, Setting<unknown>>>): string[] {
  return Object.values(declared).flatMap(({ flag, fromFile }) =>
    fromFile ? [`--${flag}`, `--${flag}-file`] : [`--${flag}`],
  );
}

/** One line of plain words: no stack, no second complaint. */
function expectOneLine(errors: string, word: string): void {
  expect(errors.trimEnd().split("\n")).toHaveLength(1);
  expect(errors).toStartWith("longwire: ");
  expect(errors).toContain(word);
}

/** Sends one message of that size; 1000 when it came back and was followed by our own close. */
async function closeCodeAfter(server: RunningServer, byteCount: number): Promise<number> {
  using client = await openWs(server.socketUrl());
  client.send(Buffer.alloc(byteCount));
  client.next().then(
    () => client.close(1000),
    () => undefined, // Closed by the server: its code is what this returns.
  );
  return (await within(client.closed, "a close")).code;
}
