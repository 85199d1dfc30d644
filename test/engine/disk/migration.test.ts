/** A data file of schema 1, as c7a66fa wrote it, under this program. */
import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { cutPower } from "../../power/cuts.ts";
import { makeOwn, schema1 } from "../../power/fixtures/old-data.ts";
import { topicOf } from "../../power/publications.ts";
import { spawnDiskServer } from "../../support/disk-server.ts";
import { seed } from "../../support/random.ts";
import { runCommand } from "../../support/server.ts";
import { lacks } from "../../support/tool.ts";
import { everyEvent } from "../../support/topics.ts";

setDefaultTimeout(120_000);

const oldData = schema1();
/** The ids of one topic, in order. */
const topic = "t/0";
const ids = oldData.acknowledged
  .filter(({ number, item }) => number !== undefined && item === undefined && topicOf(number) === topic)
  .sort((one, other) => one.offset - other.offset)
  .map(({ epoch, offset }) => `${epoch}-${offset}`);

test.skipIf(lacks("cc"))(
  "a power cut at any step of the migration loses nothing and doubles nothing",
  async () => {
    const historyMessages = 1_000_000;
    const rounds = [
      { historyMessages, publications: 20, secondsMin: 0 },
      { historyMessages, publications: 20, secondsMin: 1 },
    ];
    const { cuts } = await cutPower({ seed, rounds, cuts: 2, oldData });
    expect(cuts).toBe(4);
  },
);

test("a file of schema 1 is restored, served with its ids, marked for earlier programs, and backed up", async () => {
  await using server = await spawnDiskServer();
  await server.kill();
  const [old, backup] = [join(server.data, "old"), join(server.data, "backup")];
  writeFileSync(old, oldData.database);
  makeOwn(old);
  expect((await runCommand(["data", "restore", old, "--data", server.data])).exitCode).toBe(0);
  const running = await server.start();
  // A restored file begins new epochs, at the same offsets.
  const offsets = (each: readonly string[]): string[] => each.map((id) => id.slice(id.lastIndexOf("-")));
  expect(offsets((await everyEvent(running, topic)).map(({ id }) => id))).toEqual(offsets(ids));
  expect((await runCommand(["data", "backup", "--data", server.data, "--to", backup])).exitCode).toBe(0);
  using database = new Database(backup, { readonly: true });
  const { user_version } = database.query("PRAGMA user_version").get() as { user_version: number };
  expect(user_version).toBeGreaterThan(1); // c7a66fa refuses a greater one in words.
  expect((await runCommand(["data", "check", "--data", server.data])).exitCode).toBe(0);
});
