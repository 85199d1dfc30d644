/** Faults of the disk under a running server: publishing is refused, subscribers stay, and it recovers by itself. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DiskServer, spawnDiskServer } from "../../support/disk-server.ts";
import { FailingDisk } from "../../support/failing-disk.ts";
import { runCommand } from "../../support/server.ts";
import { SmallDisk } from "../../support/small-disk.ts";
import { lacks } from "../../support/tool.ts";
import {
  everyEvent,
  newTopic,
  openEvents,
  post,
  publish,
  publishEach,
  type ReceivedEvent,
} from "../../support/topics.ts";
import { until } from "../../support/wait.ts";
import { settleSecondsMax } from "../contract/away.ts";

setDefaultTimeout(120_000);

const small = lacks("root's right to mount") ? undefined : SmallDisk.mount();
afterAll(() => small?.[Symbol.dispose]());

interface Readiness {
  readonly broker: string;
  readonly reason?: string;
}

const readiness = async ({ running }: DiskServer): Promise<Readiness> =>
  (await fetch(new URL("/readyz", running.url))).json() as Promise<Readiness>;

const postKeyed = ({ running }: DiskServer, topic: string, body: string): Promise<Response> =>
  post(running, topic, body, { "Content-Type": "text/plain", "Idempotency-Key": body.slice(0, 20) });

/** Publishes until it is refused. @returns how long the refusal took, and what it said */
async function publishUntilRefused(server: DiskServer, topic: string, published: string[]) {
  for (let count = 0; ; count++) {
    const body = `${count} `.padEnd(50_000, "x");
    const began = performance.now();
    const response = await postKeyed(server, topic, body);
    const seconds = (performance.now() - began) / 1000;
    if (response.status === 200) published.push(body);
    else return { body, seconds, status: response.status, retryAfter: response.headers.get("Retry-After") };
  }
}

const feedFlags = ["--feed", "news/* all-news"];

interface FedEvent extends ReceivedEvent {
  readonly origin?: string;
}

/** Each step is one that an operator takes. The fault ends with `mend`. */
async function outlives(
  server: DiskServer,
  { fault, mend, state, reason }: { fault: () => void; mend: () => void; state: string; reason: RegExp },
): Promise<void> {
  const topic = `news/${newTopic()}`;
  const [first = ""] = await publishEach(server.running, topic, ["before"]);
  using subscriber = await openEvents(server.running, `${topic}?since=${first}`);
  fault();
  const published: string[] = [];
  const refused = await publishUntilRefused(server, topic, published);
  expect(refused.status).toBe(503);
  expect(refused.retryAfter).not.toBeNull();
  expect(refused.seconds).toBeLessThan(settleSecondsMax);
  // The Worker may have met the fault when it was only half there, and looks again each second.
  await until(async () => {
    const { broker, reason: said = "" } = await readiness(server);
    return broker === state && reason.test(said);
  }, `${state}: ${reason}`);
  mend();
  await until(async () => (await readiness(server)).broker === "available", "the disk to be used again");
  // Whether the refused one was published is unknown until it is repeated.
  expect((await postKeyed(server, topic, refused.body)).status).toBe(200);
  const last = await publish(server.running, topic, "after");
  const received: unknown[] = [];
  while (received.at(-1) !== "after") received.push((await subscriber.event()).data);
  expect(received).toEqual([...published, refused.body, "after"]);
  await server.kill();
  await server.start();
  const kept = await everyEvent(server.running, topic);
  expect(kept.at(-1)?.id).toBe(last);
  const fed: readonly FedEvent[] = await everyEvent(server.running, "all-news");
  for (const events of [kept, fed.filter(({ origin }) => origin === topic)])
    expect(events.map(({ data }) => data)).toEqual(["before", ...received]);
}

describe("publishing is 503 within 3 s, subscribers stay, and all goes on by itself, where", () => {
  test.skipIf(!small)("the disk is full", async () => {
    await using server = await spawnDiskServer(feedFlags, { data: join(small?.path ?? "", "data") });
    await outlives(server, {
      fault: () => void small?.fill(),
      mend: () => small?.free(),
      state: "read-only",
      reason: /full/,
    });
  });

  let disk: FailingDisk;
  let failing: DiskServer;
  if (!lacks("cc")) {
    beforeAll(async () => {
      disk = new FailingDisk();
      failing = await spawnDiskServer(feedFlags, { environment: disk.environment });
    });
    afterAll(async () => {
      await failing[Symbol.asyncDispose]();
      disk[Symbol.dispose]();
    });
  }
  for (const [what, fault, reason] of [
    ["writing and syncing fail", "5", /disk I\/O error/],
    ["only syncing fails, and what was written is in doubt", "5 sync", /disk I\/O error/],
    ["the filesystem became read-only", "30", /disk I\/O error|readonly/],
  ] as const) {
    test.skipIf(lacks("cc"))(what, async () => {
      await outlives(failing, {
        fault: () => disk.fail(fault),
        mend: () => disk.mend(),
        state: "read-only",
        reason,
      });
    });
  }

  test("the directory is gone for a while", async () => {
    await using server = await spawnDiskServer(feedFlags);
    const away = `${server.data}-away`;
    await outlives(server, {
      fault: () => renameSync(server.data, away),
      mend: () => renameSync(away, server.data),
      state: "away",
      reason: /was removed or cannot be reached/,
    });
  });

  test("another file is in the place of the data", async () => {
    await using server = await spawnDiskServer(feedFlags);
    const [file, aside] = [join(server.data, "longwire.db"), join(server.data, "aside")];
    await outlives(server, {
      fault: () => {
        renameSync(file, aside);
        new Database(file).close();
        writeFileSync(file, "not the data");
      },
      mend: () => renameSync(aside, file),
      state: "away",
      reason: /was replaced by another file/,
    });
  });
});

/** Flips a bit in each place of a data file that has a text. */
function flipBit(path: string, text: string): void {
  {
    // A server that was ended on a busy machine may have left it in the write-ahead log.
    using database = new Database(path);
    database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  const bytes = readFileSync(path);
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1))
    bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

test("a flipped bit in a message is 503 with the reason when it is read, and the check finds it", async () => {
  await using server = await spawnDiskServer(["--history-messages", "1000", "--history-bytes", "4MiB"]);
  const flipped = "the message with the flipped bit";
  await publish(server.running, "news", flipped);
  // So much that it is merged.
  await Promise.all(Array.from({ length: 100 }, () => publish(server.running, "news", "x".repeat(4000))));
  const last = await publish(server.running, "sport", "whole");
  server.running.process.kill("SIGTERM");
  await server.running.process.exited;
  flipBit(join(server.data, "longwire.db"), flipped);
  const running = await server.start();
  const response = await fetch(new URL("/topics/news?since=all&limit=1000", running.url));
  expect(response.status).toBe(503);
  expect((await running.logged("could not be read")).reason).toContain("the data is damaged: segment");
  expect((await everyEvent(running, "sport")).map(({ id }) => id)).toEqual([last]);
  await publish(running, "news", "after");
  await server.kill();
  const check = await runCommand(["data", "check", "--data", server.data]);
  expect(check.exitCode).toBe(1);
  expect(check.output).toContain("does not match its checksum");
});
