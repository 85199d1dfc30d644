/** The compiled binary, run as a user would: from a folder of the user's, which has files of its own. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { version } from "../package.json";
import { openBun } from "./support/bun-client.ts";
import { openWs } from "./support/clients.ts";
import { compiledServer, forCompile } from "./support/compiled.ts";
import { spawnDiskServer } from "./support/disk-server.ts";
import { RedisServer } from "./support/redis.ts";
import { root, runCommand, spawnServer } from "./support/server.ts";
import { sharedServer } from "./support/shared-server.ts";
import { lacks } from "./support/tool.ts";
import { everyEvent, publish } from "./support/topics.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(120_000);

const folder = await mkdtemp(join(tmpdir(), "longwire-binary-"));
const binary = await compiledServer();
/** Where a user may stand: a project of Bun's with settings that are none of ours. */
const hostile = join(folder, "project");
const marker = join(folder, "preload-ran");

beforeAll(async () => {
  await mkdir(hostile);
  await writeFile(
    join(hostile, ".env"),
    "LONGWIRE_PORT=1\nLONGWIRE_LOG_LEVEL=loud\nLONGWIRE_MAX_MESSAGE=3\n",
  );
  await writeFile(join(hostile, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
  await writeFile(
    join(hostile, "preload.ts"),
    `require("node:fs").writeFileSync(${JSON.stringify(marker)}, "");\n`,
  );
  await writeFile(join(hostile, "package.json"), '{ "name": "not-longwire", "version": "99.0.0" }\n');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const server = sharedServer([], { command: [binary], directory: hostile });

test("prints its own version and help, from any folder", async () => {
  const options = { command: [binary], directory: hostile };
  expect(await runCommand(["--version"], options)).toEqual({
    exitCode: 0,
    output: `${version}\n`,
    errors: "",
  });
  expect((await runCommand(["--help"], options)).output).toContain("--max-message");
});

test("ignores a .env and a bunfig.toml lying in the folder it is run from", async () => {
  using client = await openWs(server.socketUrl());
  client.send("longer than the three bytes that .env allows");
  expect(await client.next()).toBe("longer than the three bytes that .env allows");
  expect(await Bun.file(marker).exists()).toBe(false);

  // That they would have worked: Bun itself, standing there, reads both.
  const bun = await runCommand(["-e", "console.log(process.env.LONGWIRE_PORT)"], {
    command: [process.execPath],
    directory: hostile,
  });
  expect(bun.output).toBe("1\n");
  expect(await Bun.file(marker).exists()).toBe(true);
  await rm(marker);
});

test("still takes its settings from flags and from the environment", async () => {
  await using server = await spawnServer([], {
    command: [binary],
    directory: hostile,
    environment: { LONGWIRE_MAX_MESSAGE: "1KiB" },
  });
  using client = await openWs(server.socketUrl());
  client.send(Buffer.alloc(1025));
  expect((await within(client.closed, "a close")).code).toBe(1009);
});

test.skipIf(lacks("redis-server"))("keeps topics in Redis, whose client it has", async () => {
  await using redis = await RedisServer.start();
  await using server = await spawnServer(["--redis", redis.url], { command: [binary], directory: "/" });
  await until(async () => (await fetch(new URL("/readyz", server.url))).ok, "the server to reach Redis");
  const id = await publish(server, "news", "kept");
  expect(await redis.command("HMGET", "longwire:{news}:p", "epoch", "last")).toEqual(id.split("-"));
});

describe("from any folder", () => {
  test("serves the page and everything that it links to", async () => {
    for (const path of ["/", "/longconnecthtml"]) {
      const page = await fetch(new URL(path, server.url), { headers: { Accept: "text/html" } });
      expect(page.status).toBe(200);
      expect(page.headers.get("Content-Type")).toContain("text/html");
      const html = await page.text();
      expect(html).toContain("Longwire");
      for (const [, link] of html.matchAll(/(?:href|src)="([^"#:]+)"/g)) {
        const linked = await fetch(new URL(String(link), server.url));
        expect(`${link} ${linked.status}`).toBe(`${link} 200`);
        expect(await linked.text()).not.toBeEmpty();
      }
    }
    expect(await (await fetch(new URL("/client.js", server.url))).text()).toContain("export{");
  });

  test("echoes to the ws package and to Bun's WebSocket", async () => {
    for (const open of [openWs, openBun]) {
      using client = await open(server.socketUrl());
      client.send("ping");
      client.send(Buffer.from([1, 2, 3]));
      expect(await client.next()).toBe("pong");
      expect(await client.next()).toEqual(Buffer.from([1, 2, 3]));
    }
  });

  test("shows neither source nor stack in an error answer", async () => {
    const requests: [string, RequestInit][] = [
      ["/nothing", {}],
      ["/ping", { method: "DELETE" }],
      ["/ping", { method: "POST", body: "x".repeat(1000) }],
      ["/ping", { headers: { Connection: "Upgrade", Upgrade: "websocket" } }],
      ["/%", {}],
      ["/%00", {}],
      [`/${"a".repeat(8000)}`, {}],
      ["/ping", { headers: { "If-None-Match": "\xff", Host: "::::" } }],
      ["/", { headers: { Host: "[" } }],
    ];
    for (const [path, init] of requests) {
      const response = await fetch(new URL(path, server.url), init);
      const body = await response.text();
      expect(body).not.toMatch(/\.tsx?\b|node_modules|\$bunfs|\bat .+:\d+:\d+|<html/);
      expect(body.length).toBeLessThan(10_000);
    }
  });
});

test("the build for another platform yields a binary for that platform", async () => {
  const outfile = join(folder, "longwire-arm64");
  const failure = await build("--target", "bun-linux-arm64", "--outfile", outfile).then(
    () => undefined,
    (error: Error) => error,
  );
  if (failure) {
    // Bun fetches its own executable for the other platform, which is not to be had on every network.
    expect(failure.message).toMatch(/download|target|network|fetch|connect/i);
    console.warn(
      `SKIPPED: the build for bun-linux-arm64, for Bun could not get its executable for it:\n${failure.message}`,
    );
    return;
  }
  const head = new Uint8Array(await Bun.file(outfile).slice(0, 20).arrayBuffer());
  expect([...head.slice(0, 4)]).toEqual([0x7f, 0x45, 0x4c, 0x46]); // ELF
  expect(new DataView(head.buffer).getUint16(18, true)).toBe(0xb7); // AArch64
});

async function build(...flags: string[]): Promise<void> {
  const { exitCode, output, errors } = await runCommand(["run", "build", ...flags], {
    command: [process.execPath],
    environment: forCompile,
    directory: root,
    seconds: 50,
  });
  if (exitCode !== 0) throw new Error(`the build failed:\n${output}${errors}`);
}

test("keeps topics on disk, also after kill -9, and knows `longwire data`", async () => {
  await using server = await spawnDiskServer([], { command: [binary], directory: hostile });
  const id = await publish(server.running, "news", "kept");
  await server.kill();
  await server.start();
  expect((await everyEvent(server.running, "news")).map((event) => event.id)).toEqual([id]);
  const words = ["data", "check", "--data", server.data];
  const { exitCode, output } = await runCommand(words, { command: [binary], directory: "/" });
  expect({ exitCode, output }).toEqual({
    exitCode: 0,
    output: expect.stringMatching(/^No damage was found: 1 topics, 1 messages, /),
  });
});

test("a program of one's own keeps topics on disk when it is compiled as docs/operations.md says", async () => {
  const project = join(folder, "own");
  await mkdir(join(project, "engine/disk"), { recursive: true });
  await mkdir(join(project, "node_modules"));
  await symlink(root, join(project, "node_modules/longwire"));
  await writeFile(
    join(project, "app.ts"),
    `import { createServer } from "longwire";
await using server = await createServer({ port: 0, data: "data", logLevel: "warn" });
await server.publish("news", "hello");
for await (const { data } of server.subscribe("news", { since: "all" })) { console.log(data); break; }
const { status } = await fetch(server.url, { headers: { Accept: "text/html" } });
if (status !== 404) throw new Error("the page was answered with " + status);
`,
  );
  await writeFile(join(project, "engine/disk/worker.ts"), 'import "longwire/disk-worker";\n');
  const page = await Bun.file(join(root, "docs/operations.md")).text();
  const [, command = ""] = /^(bun build app.ts .*)$/m.exec(page) ?? [];
  const options = { directory: project, seconds: 30 };
  const built = await runCommand(["-c", command], { ...options, environment: forCompile, command: ["sh"] });
  expect(built).toMatchObject({ exitCode: 0 });
  for (const expected of ["hello\n", "hello\n"])
    expect(await runCommand([], { ...options, command: [join(project, "app")] })).toEqual({
      exitCode: 0,
      output: expected,
      errors: "",
    });
});
