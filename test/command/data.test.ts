/** `longwire data`: check, backup, restore, new-epochs, on a directory that a server uses or used. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DiskServer, spawnDiskServer } from "../support/disk-server.ts";
import { type Ended, runCommand } from "../support/server.ts";
import { everyEvent, inspect, openEvents, publish, publishEach } from "../support/topics.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const data = (...words: readonly string[]): Promise<Ended> => runCommand(["data", ...words], { seconds: 20 });

const backupPath = (): string => join(tmpdir(), `longwire-backup-${crypto.randomUUID()}.db`);

const epochOf = (id: string): string => id.slice(0, id.lastIndexOf("-"));

/** Runs all the time. */
let running: DiskServer;
beforeAll(async () => {
  running = await spawnDiskServer();
});
afterAll(() => running[Symbol.asyncDispose]());

describe("a backup", () => {
  test("is made while messages are published, is whole, and does not hold them up", async () => {
    await using server = await spawnDiskServer(["--history-messages", "100000"]);
    const file = backupPath();
    const published: string[] = [];
    let isDone = false;
    const publishing = (async () => {
      for (let count = 0; !isDone; count++) published.push(await publish(server.running, "news", `${count}`));
    })();
    const { exitCode, output } = await data("backup", "--data", server.data, "--to", file);
    isDone = true;
    await publishing;
    expect(exitCode).toBe(0);
    expect(output).toMatch(/is a backup of .*: \d+(\.\d)? [KM]iB\.\n$/);
    const kept = new Database(file, { readonly: true })
      .query("SELECT offset, data FROM message ORDER BY offset")
      .all();
    // A prefix of what was published, from the first message on.
    expect(kept).toEqual(
      Array.from({ length: kept.length }, (_, index) => ({ offset: index + 1, data: `${index}` })),
    );
    expect((await everyEvent(server.running, "news")).length).toBe(published.length);
    rmSync(file);
  });

  test("is restored: its messages are there in new epochs, clients are told a gap, and the former data is kept", async () => {
    await using server = await spawnDiskServer();
    const file = backupPath();
    await publishEach(server.running, "news", ["one", "two"]);
    expect((await data("backup", "--data", server.data, "--to", file)).exitCode).toBe(0);
    const later = await publish(server.running, "news", "after the backup");
    await server.kill();
    const { exitCode, output } = await data("restore", file, "--data", server.data);
    expect(exitCode).toBe(0);
    const [, former = ""] = /The former data is in (\S+);/.exec(output) ?? [];
    expect(readdirSync(former)).toContain("longwire.db");
    await server.start();
    using client = await openEvents(server.running, `news?since=${later}`);
    expect((await client.event()).type).toBe("longwire.gap");
    const events = await everyEvent(server.running, "news");
    expect(events.map((event) => event.data)).toEqual(["one", "two"]);
    expect(epochOf(await publish(server.running, "news", "three"))).not.toBe(epochOf(later));
    rmSync(file);
  });

  test("overwrites nothing, and is not taken from a directory without data", async () => {
    const file = backupPath();
    writeFileSync(file, "precious");
    expect(await data("backup", "--data", running.data, "--to", file)).toMatchObject({
      exitCode: 1,
      errors: `longwire: ${file} exists. Choose another path with --to.\n`,
    });
    expect(await Bun.file(file).text()).toBe("precious");
    expect((await data("backup", "--data", tmpdir(), "--to", `${file}.2`)).errors).toContain("There is no ");
    rmSync(file);
  });
});

describe("restore is refused, and changes nothing, where", () => {
  test("a server uses the directory", async () => {
    const file = backupPath();
    await publish(running.running, "news", "one");
    await data("backup", "--data", running.data, "--to", file);
    const before = readdirSync(running.data);
    const { exitCode, errors } = await data("restore", file, "--data", running.data);
    expect(exitCode).toBe(1);
    expect(errors).toContain("Another process uses");
    expect(readdirSync(running.data)).toEqual(before);
    rmSync(file);
  });

  test("the file is no database, is empty, or is in use by another server: its end may be in its write-ahead log", async () => {
    await using server = await spawnDiskServer();
    const id = await publish(server.running, "news", "one");
    await server.kill();
    const file = backupPath();
    for (const content of ["a letter to a friend ".repeat(1000), ""]) {
      writeFileSync(file, content);
      expect((await data("restore", file, "--data", server.data)).exitCode).toBe(1);
    }
    rmSync(file);
    const { errors } = await data("restore", join(running.data, "longwire.db"), "--data", server.data);
    expect(errors).toContain("it is no backup but a file in use");
    await server.start();
    expect((await inspect(server.running, "news")).position).toBe(id);
  });
});

describe("a check", () => {
  test("counts what is there while a server runs", async () => {
    await using server = await spawnDiskServer();
    await publishEach(server.running, "news", ["one", "two"]);
    await publish(server.running, "sport", "three");
    expect(await data("check", "--data", server.data)).toMatchObject({
      exitCode: 0,
      output: expect.stringMatching(/^No damage was found: 2 topics, 3 messages, /),
    });
  });

  test("finds messages that are missing, those that belong to no topic, and a flipped bit", async () => {
    await using server = await spawnDiskServer(["--history-bytes", "1MiB"]);
    const large = "x".repeat(40_000); // Two of them are merged.
    await publish(server.running, "sport", large);
    await publishEach(server.running, "news", [large, large, large]);
    await publish(server.running, "later", "not merged yet");
    const database = new Database(join(server.data, "longwire.db"));
    const merged = (): unknown => database.query("SELECT count(*) AS count FROM segment").get();
    await until(() => Bun.deepEquals(merged(), { count: 4 }), "the first messages to be merged");
    await server.kill();
    database.run("DELETE FROM segment WHERE first = 2");
    database.run("DELETE FROM topic WHERE name = 'sport'");
    // The last byte of the text becomes another letter.
    database.run("UPDATE batch SET entries = CAST(substr(entries, 1, length(entries) - 1) || x'65' AS BLOB)");
    database.close();
    const { exitCode, output } = await data("check", "--data", server.data);
    expect(exitCode).toBe(1);
    expect(output).toMatch(/the topic news has 2 messages and should have those from 1 to 3/);
    expect(output).toContain("1 messages belong to no topic");
    expect(output).toMatch(/batch \d+ does not match its checksum/);
  });
});

test("new-epochs makes the next start tell each client a gap", async () => {
  await using server = await spawnDiskServer();
  const id = await publish(server.running, "news", "one");
  expect((await data("new-epochs", "--data", server.data)).errors).toContain("Another process uses");
  await server.kill();
  expect((await data("new-epochs", "--data", server.data)).exitCode).toBe(0);
  await server.start();
  using client = await openEvents(server.running, `news?since=${id}`);
  expect((await client.event()).type).toBe("longwire.gap");
});

test("wrong words are answered with what to type", async () => {
  for (const [words, expected] of [
    [["frobnicate"], 'There is no "data frobnicate"; there are check, backup, restore, new-epochs'],
    [["check"], "--data is needed: --data <path>"],
    [["backup", "--data", "d"], "--to is needed: --to <path>"],
    [["restore", "--data", "d"], "--from is needed: --from <path>"],
    [["check", "--to", "f"], "There is no flag --to; "],
  ] as const) {
    const { exitCode, errors } = await data(...words);
    expect(exitCode).toBe(2);
    expect(errors).toStartWith(`longwire: ${expected}`);
  }
  const { output } = await data("--help");
  for (const action of ["check", "backup", "restore", "new-epochs"])
    expect(output).toContain(`data ${action}`);
  expect(existsSync("d")).toBe(false);
});
