/**
 * The full run of test/delivery/slow-readers.test.ts, with figures: thousands of cuts in each form without a hole, then 1,000 stalled
 * subscribers while 1 GiB is published.
 *
 *   bun run test/fuzz/slow-readers.ts [--seed 7] [--cuts 3000] [--readers 1000] [--mebibytes 1024] [--max-buffered 64KiB] [--max-message 16KiB]
 */
import { parseArgs } from "node:util";
import { Random } from "../support/random.ts";
import { residentBytes, spawnServer } from "../support/server.ts";
import { forms } from "../support/slow-reader.ts";
import { starve } from "../support/starvation.ts";

const MiB = 1024 * 1024;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    cuts: { type: "string", default: "3000" },
    readers: { type: "string", default: "1000" },
    mebibytes: { type: "string", default: "1024" },
    "max-buffered": { type: "string", default: "64KiB" },
    // A WebSocket may always hold one message as base64, so a small --max-buffered needs this one to be small too.
    "max-message": { type: "string", default: "16KiB" },
  },
});
const seed = Number(values.seed);
const command = `bun run test/fuzz/slow-readers.ts --seed ${seed}`;
let failed = false;

for (const form of Number(values.cuts) > 0 ? forms : []) {
  await using server = await spawnServer([
    ...["--max-buffered", "8KiB", "--max-message", "4KiB", "--log-level", "warn"],
  ]);
  const { cuts, messages, holes } = await starve({
    server,
    topic: "busy",
    readers: Array<typeof form>(50).fill(form),
    random: new Random(seed),
    bytes: (random) => random.between(20, 600),
    enough: (seen) => seen.cuts >= Number(values.cuts) || seen.holes.length > 0,
  });
  console.log(`${form}: ${cuts} cuts, ${messages} messages at slow readers, ${holes.length} holes`);
  for (const hole of holes) console.log(`  ${hole}; again: ${command}`);
  failed ||= holes.length > 0;
}

if (Number(values.mebibytes) > 0) {
  const readers = Array.from(
    { length: Number(values.readers) },
    (_, index) => forms[index % forms.length] ?? "raw",
  );
  await using server = await spawnServer([
    ...["--max-buffered", values["max-buffered"], "--max-message", values["max-message"]],
    ...["--log-level", "warn"],
  ]);
  const startBytes = await residentBytes(server.process.pid);
  const start = performance.now();
  const { cuts, holes, published } = await starve({
    server,
    topic: "busy",
    readers,
    random: new Random(seed),
    bytes: () => 8192,
    // Each reads nothing for about 50 rounds, long enough to be cut. Then it reconnects and stalls again.
    act: (reader, chance) => {
      if (!reader.connected) reader.take(4096);
      else if (chance.chance(0.02)) reader.takeAll();
    },
    enough: (_, { bytes }) => bytes >= Number(values.mebibytes) * MiB,
  });
  const mostBytes = await residentBytes(server.process.pid, "most");
  console.log(
    `${readers.length} stalled subscribers with --max-buffered ${values["max-buffered"]}, ` +
      `${Math.round(published.bytes / MiB)} MiB published in ${Math.round((performance.now() - start) / 1000)} s: ` +
      `${cuts} cuts; the server's memory was ${Math.round(startBytes / MiB)} MiB before and ` +
      `${Math.round(mostBytes / MiB)} MiB at most; three healthy subscribers got everything in order`,
  );
  failed ||= holes.length > 0;
}
process.exit(failed ? 1 : 0);
