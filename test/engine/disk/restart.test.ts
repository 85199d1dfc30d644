/** A restart is not a gap, unless the data may have lost its end. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createHandler, DataDirectoryError } from "../../../src/longwire.ts";
import { compiledServer } from "../../support/compiled.ts";
import { type DiskServer, spawnDiskServer } from "../../support/disk-server.ts";
import { KeptDirectory } from "../../support/kept-directory.ts";
import { runCommand } from "../../support/server.ts";
import { everyEvent, openEvents, post, publish, publishEach } from "../../support/topics.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const epochOf = (id: string): string => id.slice(0, id.lastIndexOf("-"));

/** The log line of a start at which every topic begins a new epoch. */
const newEpochs = "every topic begins a new epoch";

const witnessOf = (directory: string): string => {
  const name = readdirSync(directory).find((name) => name.startsWith("high-water."));
  return join(directory, name ?? "no witness");
};

/** Whether the second file has the number of the last transaction. */
function witnessed(directory: string): boolean {
  using database = new Database(join(directory, "longwire.db"));
  const { commits } = database
    .query("SELECT max(commits, (SELECT coalesce(max(seq), 0) FROM batch)) AS commits FROM state")
    .get() as { commits: number };
  return Number(readFileSync(witnessOf(directory), "utf8").trim().split(/ +/)[1]) === commits;
}

describe("after kill -9 and a start in the same directory", () => {
  test("history, ids, keys and positions are as they were", async () => {
    await using server = await spawnDiskServer();
    const key = { "Idempotency-Key": "order-1", "Content-Type": "text/plain" };
    const ids = await publishEach(server.running, "news", ["one", "二", ""]);
    const first = await (await post(server.running, "news", "keyed", key)).json();
    await post(server.running, "bytes", new Uint8Array([0, 255, 7]), {
      "Content-Type": "application/x-mine",
    });
    using _subscriber = await openEvents(server.running, "quiet");
    const everything = (): Promise<unknown> =>
      Promise.all(["news", "bytes"].map((topic) => everyEvent(server.running, topic)));
    const before = await everything();
    await server.kill();
    await server.start();
    expect(await everything()).toEqual(before);
    expect(await (await post(server.running, "news", "keyed", key)).json()).toEqual(first);
    expect((await post(server.running, "news", "other", key)).status).toBe(422);
    const next = await publish(server.running, "news", "after");
    expect(next).toBe(`${epochOf(ids[0] ?? "")}-5`);
    using quiet = await openEvents(server.running, "quiet");
    expect(quiet.topics[0]?.id).toEndWith("-0");
    server.running.process.kill("SIGTERM");
    await server.running.errors;
    expect(server.running.log().filter(({ msg }) => String(msg).includes(newEpochs))).toEqual([]);
  });

  test("a client resumes without a gap, and a position without messages resumes as well", async () => {
    await using server = await spawnDiskServer(["--history-messages", "1"]);
    const [first = ""] = await publishEach(server.running, "news", ["one", "two"]);
    using quiet = await openEvents(server.running, "quiet");
    const quietId = quiet.topics[0]?.id ?? "";
    await server.kill();
    await server.start();
    using back = await openEvents(server.running, `news?since=${first}`);
    expect(back.topics).toEqual([{ topic: "news", id: first, resumed: true }]);
    expect((await back.event()).data).toBe("two");
    using quietBack = await openEvents(server.running, `quiet?since=${quietId}`);
    expect(quietBack.topics).toEqual([{ topic: "quiet", id: quietId, resumed: true }]);
  });

  test("a renamed directory is the same data", async () => {
    await using server = await spawnDiskServer();
    const [id = ""] = await publishEach(server.running, "news", ["one"]);
    await server.kill();
    const moved = `${server.data}-moved`;
    renameSync(server.data, moved);
    try {
      await using there = await spawnDiskServer([], { data: moved });
      expect(epochOf(await publish(there.running, "news", "two"))).toBe(epochOf(id));
    } finally {
      await rm(moved, { recursive: true });
    }
  });
});

describe("every topic begins a new epoch, and the client is told a gap, where", () => {
  let server: DiskServer;
  let copy: string;
  let kept: KeptDirectory;
  let last: string | undefined;

  /** Publishes, copies, publishes more, and kills. */
  beforeAll(async () => {
    server = await spawnDiskServer();
    copy = `${server.data}-copy.db`;
    await publish(server.running, "news", "one");
    await server.kill();
    copyFileSync(join(server.data, "longwire.db"), copy);
    copyFileSync(join(server.data, "longwire.db-wal"), `${copy}-wal`);
    await server.start();
    [, last] = await publishEach(server.running, "news", ["two", "three"]);
    await until(() => witnessed(server.data), "the witness to know of the last transaction");
    await server.kill();
    kept = new KeptDirectory(server.data);
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    kept[Symbol.dispose]();
    for (const path of [copy, `${copy}-wal`]) rmSync(path);
  });

  async function restored(putBack: (directory: string, copy: string) => void): Promise<unknown> {
    await server.kill();
    kept.restore();
    putBack(server.data, copy);
    await server.start();
    const { reason } = await server.running.logged(newEpochs);
    using client = await openEvents(server.running, `news?since=${last}`);
    expect(client.topics[0]?.resumed).toBe(false);
    expect((await client.event()).type).toBe("longwire.gap");
    expect(epochOf(await publish(server.running, "news", "four"))).not.toBe(epochOf(last ?? ""));
    return reason;
  }

  const path = (directory: string): string => join(directory, "longwire.db");

  test("a copy was moved to the place of the file", async () => {
    const reason = await restored((directory, copy) => {
      for (const end of ["-wal", "-shm"]) rmSync(path(directory) + end, { force: true });
      copyFileSync(copy, `${copy}.2`);
      renameSync(`${copy}.2`, path(directory));
      copyFileSync(`${copy}-wal`, `${path(directory)}-wal`);
    });
    expect(reason).toContain("longwire.db is a copy");
  });

  test("a copy was written over the file, which keeps inode and birth time", async () => {
    const reason = await restored((directory, copy) => {
      const { ino } = statSync(path(directory));
      rmSync(`${path(directory)}-shm`, { force: true });
      copyFileSync(copy, path(directory));
      copyFileSync(`${copy}-wal`, `${path(directory)}-wal`);
      expect(statSync(path(directory)).ino).toBe(ino);
    });
    expect(reason).toContain("high-water");
  });

  test("the write-ahead log was left behind", async () => {
    const reason = await restored((directory) => {
      rmSync(`${path(directory)}-wal`);
      rmSync(`${path(directory)}-shm`);
    });
    expect(reason).toContain("its end is lost");
  });

  test("the witness is missing", async () => {
    const reason = await restored((directory) => rmSync(witnessOf(directory)));
    expect(reason).toContain("is missing");
  });

  test("the witness is a copy, too", async () => {
    const reason = await restored((directory) => {
      const witness = witnessOf(directory);
      copyFileSync(witness, `${witness}.2`);
      renameSync(`${witness}.2`, witness);
      const now = new Date();
      utimesSync(witness, now, now);
    });
    expect(reason).toContain("is a copy");
  });
});

describe("a start is refused in words, and deletes nothing, where", () => {
  let stopped: DiskServer;
  let kept: KeptDirectory;
  let running: DiskServer;

  beforeAll(async () => {
    [stopped, running] = await Promise.all([spawnDiskServer(), spawnDiskServer()]);
    await publishEach(stopped.running, "news", ["one", "two"]);
    await stopped.kill();
    kept = new KeptDirectory(stopped.data);
  });
  afterAll(async () => {
    for (const server of [stopped, running]) await server[Symbol.asyncDispose]();
    kept[Symbol.dispose]();
  });

  async function refusal(damage: (directory: string) => void): Promise<string> {
    const { data } = stopped;
    kept.restore();
    {
      // The last to close the file takes the write-ahead log into it.
      using database = new Database(join(data, "longwire.db"));
      database.run("PRAGMA wal_checkpoint(TRUNCATE)");
    }
    damage(data);
    const before = readdirSync(data).filter((name) => name.startsWith("longwire.db"));
    const { exitCode, errors } = await runCommand(["--data", data, "--port", "0"]);
    expect(exitCode).toBe(1);
    expect(readdirSync(data)).toEqual(expect.arrayContaining(before));
    return errors.slice(errors.indexOf("longwire: "));
  }

  test("another process has the directory", async () => {
    const { exitCode, errors } = await runCommand(["--data", running.data, "--port", "0"]);
    expect({ exitCode, errors }).toEqual({
      exitCode: 1,
      errors: `longwire: Another process uses ${running.data}. Stop it, or choose another directory with --data.\n`,
    });
    await publish(running.running, "news", "not disturbed");
  });

  test("a newer Longwire wrote it", async () => {
    const words = await refusal((directory) => {
      using database = new Database(join(directory, "longwire.db"));
      database.run("PRAGMA user_version = 999");
    });
    expect(words).toMatch(/was written by a newer Longwire \(schema 999; this one knows \d+\)/);
  });

  test("the file is no database", async () => {
    const words = await refusal((directory) => {
      truncateSync(join(directory, "longwire.db"), 0);
      Bun.spawnSync(["sh", "-c", `head -c 8192 /dev/urandom > ${join(directory, "longwire.db")}`]);
    });
    expect(words).toContain("is damaged");
    expect(words).toContain("longwire data check");
  });

  test("the file was cut off", async () => {
    const words = await refusal((directory) => {
      const file = join(directory, "longwire.db");
      truncateSync(file, statSync(file).size - 4096);
    });
    expect(words).toContain("is damaged");
  });

  test("a file is where a directory should be, or a directory where a file should be", async () => {
    const file = import.meta.path;
    for (const data of [file, join(file, "below", "it"), join(file, "..", basename(file))]) {
      const { exitCode, errors } = await runCommand(["--data", data, "--port", "0"]);
      expect({ exitCode, errors }).toEqual({
        exitCode: 1,
        errors: `longwire: ${file} is a file, not a directory. Choose another path with --data.\n`,
      });
    }
    for (const name of ["lock", "longwire.db"])
      expect(
        await refusal((directory) => {
          rmSync(join(directory, name), { force: true });
          mkdirSync(join(directory, name));
        }),
      ).toEndWith(`${name} is a directory, and must be a file. Move it away.\n`);
  });

  // Root may write to every file, unless it has given up its rights.
  const isRoot = process.getuid?.() === 0;
  const withoutRights = isRoot ? ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] : [];

  test("one of its files may not be written, and the words name it and what to do", async () => {
    const command = [...withoutRights, await compiledServer()];
    for (const name of ["lock", "longwire.db", "longwire.db-wal"]) {
      kept.restore();
      const file = join(stopped.data, name);
      const refused = async (): Promise<string> =>
        (await runCommand(["--data", stopped.data, "--port", "0"], { command })).errors;
      chmodSync(file, 0);
      expect(await refused()).toContain(`${file} may not be read and written by its own user`);
      if (!isRoot) continue;
      chownSync(file, 65_534, 65_534);
      expect(await refused()).toMatch(/belongs to user 65534, .* start it as user 65534, or .* chown -R 0 /);
    }
  });

  test("a server that is not to be reached without a key has made nothing", async () => {
    const data = join(mkdtempSync(join(tmpdir(), "longwire-data-")), "topics");
    const { exitCode, errors } = await runCommand(["--data", data, "--port", "0", "--host", "0.0.0.0"]);
    expect(exitCode).toBe(2);
    expect(errors).toMatch(/^longwire: Without a key anyone who reaches 0\.0\.0\.0 .*\n$/);
    expect(existsSync(data)).toBe(false);
    rmSync(join(data, ".."), { recursive: true });
  });

  test("a server whose port is taken says nothing of its disk", async () => {
    const data = mkdtempSync(join(tmpdir(), "longwire-data-"));
    const { exitCode, errors } = await runCommand(["--data", data, "--port", running.running.url.port]);
    expect(exitCode).toBe(1);
    expect(errors).toContain("is taken");
    expect(errors).not.toContain("the disk does not take messages");
    rmSync(data, { recursive: true });
  });
});

describe("a program", () => {
  test("keeps topics on disk by an option, and cannot open a directory twice", async () => {
    const data = mkdtempSync(join(tmpdir(), "longwire-data-"));
    let id: string;
    {
      await using longwire = createHandler({ data, logLevel: "warn" });
      ({ id } = await longwire.publish("news", "hello"));
      expect(() => createHandler({ data, logLevel: "warn" })).toThrow(DataDirectoryError);
    }
    await using again = createHandler({ data, logLevel: "warn" });
    for await (const message of again.subscribe("news", { since: "all" })) {
      expect(message.id).toBe(id);
      expect(String(message.data)).toBe("hello");
      break;
    }
    rmSync(data, { recursive: true });
  });
});
