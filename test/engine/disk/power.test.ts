/** Power cuts. The same for longer: `bun run fuzz power-cuts --seeds 12`. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { cutPower } from "../../power/cuts.ts";
import { seed } from "../../support/random.ts";
import { lacks } from "../../support/tool.ts";
import { failureOf } from "../contract/messages.ts";

setDefaultTimeout(120_000);

const publications = 150;
/** It merges each 128 KiB, which is twice in a round. */
const short = { publications, secondsMin: 0, historyBytesMax: 2 * 1024 ** 2 };
const unlimited = { ...short, historyMessages: 1_000_000 };

test.skipIf(lacks("cc"))(
  "a power cut loses nothing acknowledged, whatever it leaves of what was not synced",
  async () => {
    const failing = { syncs: 1, nameEnd: "-wal" };
    const rounds = [unlimited, { ...short, historyMessages: 5, failing }, unlimited];
    const { cuts, acknowledged, failedSyncs } = await cutPower({ seed, rounds, cuts: 3 });
    expect(cuts).toBe(9);
    expect(acknowledged).toBeGreaterThan(publications);
    expect(failedSyncs).toBe(1);
  },
);

test.skipIf(lacks("cc"))("the same cuts find out an engine whose commits are not synced", async () => {
  const worker = new URL("../../power/relaxed-worker.ts", import.meta.url);
  expect(String(await failureOf(cutPower({ seed, rounds: [unlimited], cuts: 4, worker })))).toMatch(
    /lost|is gone/,
  );
});
