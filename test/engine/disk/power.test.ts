/** A power cut after syncs failed. The same at random moments under load: `bun run fuzz power-cuts --minutes 20`. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type DiskServer, spawnDiskServer } from "../../support/disk-server.ts";
import { FailingDisk } from "../../support/failing-disk.ts";
import { lacks } from "../../support/tool.ts";
import { everyEvent, post, publish } from "../../support/topics.ts";

setDefaultTimeout(120_000);

/** The bodies of the topic's messages, by id. */
const shown = async ({ running }: DiskServer): Promise<Record<string, unknown>> =>
  Object.fromEntries((await everyEvent(running, "news")).map(({ id, data }) => [id, data]));

/** @param fault of the disk after all its syncs failed for a while */
async function outlivesPowerCut(fault: string | undefined): Promise<void> {
  using disk = new FailingDisk();
  await using server = await spawnDiskServer([], { environment: disk.environmentWithPower });
  const before = await publish(server.running, "news", "before");
  disk.fail("5 sync");
  const refused = await post(server.running, "news", "in doubt", { "Content-Type": "text/plain" });
  expect(refused.status).toBe(503);
  // Readers get what was synced, and not what a power cut would take from them.
  expect(await shown(server)).toEqual({ [before]: "before" });
  if (fault === undefined) disk.mend();
  else disk.fail(fault);
  await server.running.logged("the disk takes messages again");
  const after = await publish(server.running, "news", "after");
  const answered = await shown(server);
  expect(answered).toMatchObject({ [before]: "before", [after]: "after" });
  await server.kill();
  disk.cutPower(server.data, () => false);
  disk.mend();
  await server.start();
  expect(await shown(server)).toEqual(answered);
}

describe("what is answered after a failed sync outlives a power cut, where then", () => {
  for (const [what, fault] of [
    ["all syncs work", undefined],
    ["those of the write-ahead log work, and those of the file do not", "5 sync longwire.db"],
  ] as const)
    test.skipIf(lacks("cc", "Linux 6.5 with temporary files on a disk"))(what, () => outlivesPowerCut(fault));
});
