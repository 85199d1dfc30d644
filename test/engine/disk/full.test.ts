/** A start on a full disk: reads are served, publishing is refused with the reason, and retention frees space. */
import { Database } from "bun:sqlite";
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { type DiskServer, spawnDiskServer } from "../../support/disk-server.ts";
import { SmallDisk } from "../../support/small-disk.ts";
import { lacks } from "../../support/tool.ts";
import { everyEvent, post, publish } from "../../support/topics.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const disk = lacks("root's right to mount") ? undefined : SmallDisk.mount();
afterAll(() => disk?.[Symbol.dispose]());

const newDirectory = (): string => mkdtempSync(join(disk?.path ?? "", "data-"));

const retained = async ({ running }: DiskServer): Promise<unknown[]> =>
  (await everyEvent(running, "news")).map(({ data }) => data);

interface Readiness {
  readonly broker: string;
  readonly reason?: string;
}

const readiness = async ({ running }: DiskServer): Promise<Readiness> =>
  (await fetch(new URL("/readyz", running.url))).json() as Promise<Readiness>;

async function requireRefusal(server: DiskServer, retainedBefore: readonly unknown[]): Promise<void> {
  await until(async () => (await readiness(server)).broker === "read-only", "the full disk to be noticed");
  expect((await readiness(server)).reason).toContain("full");
  expect((await post(server.running, "news", "refused", { "Content-Type": "text/plain" })).status).toBe(503);
  expect(await retained(server)).toEqual([...retainedBefore]);
}

describe("a server starts on a full disk", () => {
  test.skipIf(!disk)("and with a smaller --history-bytes it makes room for publishing", async () => {
    const data = newDirectory();
    await using server = await spawnDiskServer(["--history-messages", "100000"], { data });
    const bodies = Array.from({ length: 200 }, (_, index) => `${index} `.padEnd(100_000, "x"));
    for (const body of bodies) await publish(server.running, "news", body);
    await server.kill();
    using _filler = disk?.fill();
    expect(statfsSync(data).bavail).toBe(0);
    await server.start();
    await requireRefusal(server, bodies);
    await server.kill();
    await server.start(["--history-bytes", "1MiB"]);
    await until(async () => (await readiness(server)).broker === "available", "space to be freed", 30);
    const last = await publish(server.running, "news", "after");
    expect((await everyEvent(server.running, "news")).at(-1)).toMatchObject({ id: last, data: "after" });
    rmSync(data, { recursive: true });
  });

  test.skipIf(!disk)("without its reserve, and serves other programs again when there is space", async () => {
    const data = newDirectory();
    await using server = await spawnDiskServer([], { data });
    const id = await publish(server.running, "news", "before");
    server.running.process.kill("SIGTERM");
    await server.running.process.exited;
    rmSync(join(data, "reserve"));
    using _filler = disk?.fill();
    await server.start();
    await requireRefusal(server, ["before"]);
    disk?.free();
    await until(async () => (await readiness(server)).broker === "available", "the disk to be used again");
    expect(await publish(server.running, "news", "after")).toBe(id.replace(/1$/, "2"));
    using database = new Database(join(data, "longwire.db"), { readonly: true });
    expect(database.query("SELECT count(*) AS count FROM message").get()).toEqual({ count: 2 });
  });
});
