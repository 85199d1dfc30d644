/** Every fuzzer by its name. */

import { resolve } from "node:path";
import { MemoryBroker } from "../../src/engine/memory/broker.ts";
import { presenceLimits, walkPresence } from "../engine/contract/presence-fold.ts";
import { Waits } from "../engine/contract/waits.ts";
import { replayWalk } from "../model/replay.ts";
import { rules } from "../model/scripts.ts";
import { walk } from "../model/walk.ts";
import { cutPower } from "../power/cuts.ts";
import { flipBits } from "../power/flips.ts";
import { emptyKillTally, runKills } from "../support/kills.ts";
import { fireAt } from "../support/producers-under-fire.ts";
import { Random } from "../support/random.ts";
import { emptyTally, runSchedule } from "../support/resume-schedule.ts";
import { spawnServer } from "../support/server.ts";
import { forms } from "../support/slow-reader.ts";
import { starve } from "../support/starvation.ts";
import { realTime } from "../support/time.ts";
import { frames } from "./frames.ts";
import { type Fuzzer, forEachSeed } from "./fuzzer.ts";
import { handshake } from "./handshake.ts";
import { post } from "./post.ts";

/** Resuming, in memory; test/fuzz/resume.ts runs the same schedules and prints their counts. */
const resume: Fuzzer = {
  name: "resume",
  run: (firstSeed, isEnough) =>
    forEachSeed("resume", firstSeed, isEnough, async (seed) => {
      await runSchedule(seed, emptyTally());
      return 1;
    }),
};

/** Readers that stall and drain half; test/fuzz/slow-readers.ts does the same with more of them. */
const slowReaders: Fuzzer = {
  name: "slow-readers",
  run: async (firstSeed, isEnough) => {
    await using server = await spawnServer([
      ...["--max-buffered", "8KiB", "--max-message", "4KiB", "--log-level", "warn"],
    ]);
    return await forEachSeed("slow-readers", firstSeed, isEnough, async (seed) => {
      const { holes, cuts } = await starve({
        server,
        topic: "busy",
        readers: Array.from({ length: 20 }, (_, index) => forms[index % forms.length] ?? "raw"),
        random: new Random(seed),
        bytes: (random) => random.between(20, 600),
        enough: (seen) => seen.cuts >= 100 || seen.holes.length > 0,
      });
      if (holes.length > 0) throw new Error(holes.join("; "));
      return cuts;
    });
  },
};

/** Who is here, in memory: what every reader folds, beside a model. */
const presence: Fuzzer = {
  name: "presence",
  run: (firstSeed, isEnough) =>
    forEachSeed("presence", firstSeed, isEnough, async (seed) => {
      let milliseconds = Date.UTC(2027, 0);
      const clock = { now: () => milliseconds, monotonic: () => milliseconds };
      const broker = new MemoryBroker(presenceLimits, { clock, presence: presenceLimits });
      const advance = async (seconds: number): Promise<void> => {
        milliseconds += seconds * 1000;
        broker.sweep();
      };
      const nodes = [{ broker, register: broker }];
      const waits = new Waits(realTime);
      const entries = await walkPresence({ random: new Random(seed), nodes, waits, advance, steps: 300 });
      await broker.close();
      return entries;
    }),
};

/** `kill -9` of a server on disk under load, 10 times a seed; every second seed while retention deletes. */
const kills: Fuzzer = {
  name: "kills",
  run: (firstSeed, isEnough) =>
    forEachSeed("kills", firstSeed, isEnough, async (seed) => {
      const tally = emptyKillTally();
      const historyMessages = seed % 2 === 0 ? 1_000_000 : 20;
      await runKills({ random: new Random(seed), kills: 10, historyMessages, tally });
      if (seed % 2 === 0 && tally.returns < tally.kills) throw new Error("the followers never came back");
      return tally.acknowledged;
    }),
};

/**
 * 24 power cuts a seed; in half of them after syncs failed, in a quarter while retention deletes. With an odd seed each round
 * is as short as it can be, and merges each MiB; with an even one as much as it gets done in some time, and each 4 MiB.
 */
const powerCuts: Fuzzer = {
  name: "power-cuts",
  run: (firstSeed, isEnough) =>
    forEachSeed("power-cuts", firstSeed, isEnough, async (seed) => {
      const random = new Random(seed);
      const rounds = [1_000_000, 1_000_000, 20, 1_000_000].map((historyMessages, round) => ({
        ...{ historyMessages, publications: random.between(200, 1500) },
        ...(seed % 2 === 1
          ? { secondsMin: 0, historyBytesMax: 16 * 1024 ** 2 }
          : { secondsMin: random.below(3) }),
        ...(round % 2 === 1 && {
          failing: { syncs: random.pick([1, 1, 5, 50]), nameEnd: random.pick(["", "-wal", "longwire.db"]) },
        }),
      }));
      return (await cutPower({ seed, rounds, cuts: 6 })).acknowledged;
    }),
};

/** A flipped bit in every page of a data file. */
const flips: Fuzzer = {
  name: "flips",
  run: (firstSeed, isEnough) =>
    forEachSeed("flips", firstSeed, isEnough, async (seed) => {
      const { flips, refused } = await flipBits(seed, 500, Number.POSITIVE_INFINITY);
      if (refused === 0) throw new Error("no flip had an effect");
      return flips;
    }),
};

/** Streams whose producers break and repeat, and readers that are cut: each reader gets each token once. */
const streams: Fuzzer = {
  name: "streams",
  run: async (firstSeed, isEnough) => {
    await using server = await spawnServer(["--history-messages", "1000", "--log-level", "warn"]);
    return await forEachSeed("streams", firstSeed, isEnough, async (seed) => {
      const tally = { tokens: 0, repeated: 0, cut: 0 };
      const fired = Array.from({ length: 4 }, (_, index) =>
        fireAt(server, `${seed}/${index}`, new Random(seed * 4 + index), tally),
      );
      await Promise.all(fired);
      return tally.tokens;
    });
  },
};

/** The tests of a file that makes random choices. Its connections and processes add chances of their own. */
const testFuzzer = ([name, file]: readonly [string, string]): Fuzzer => ({
  name,
  run: (firstSeed, isEnough) =>
    forEachSeed(name, firstSeed, isEnough, async (seed) => {
      const path = resolve(import.meta.dir, `../${file}.test.ts`);
      const run = Bun.spawn([process.execPath, "test", path], {
        env: { ...process.env, LONGWIRE_SEED: String(seed) },
        stdout: "ignore",
        stderr: "pipe",
      });
      const output = await new Response(run.stderr).text();
      if ((await run.exited) !== 0) throw new Error(output);
      return Number(/^ (\d+) pass$/m.exec(output)?.[1]);
    }),
});

/** Random ways through the model of many nodes; `bun run model` visits every state of small sizes. */
const model: Fuzzer = {
  name: "model",
  run: (firstSeed, isEnough) =>
    forEachSeed("model", firstSeed, isEnough, async (seed) => {
      walk(seed, rules);
      return 1;
    }),
};

/** The same with the scripts on real Redis servers, step by step. */
const traces: Fuzzer = {
  name: "traces",
  run: (firstSeed, isEnough) => forEachSeed("traces", firstSeed, isEnough, replayWalk),
};

export const fuzzers: readonly Fuzzer[] = [
  ...[
    handshake,
    frames,
    post,
    resume,
    presence,
    slowReaders,
    streams,
    kills,
    powerCuts,
    flips,
    model,
    traces,
  ],
  ...Object.entries({
    "broker-unreliable": "topic/broker-unreliable",
    client: "client/client",
    "cut-anywhere": "endpoint/topics/cut-anywhere",
    "protocol-docs": "docs/protocol",
    "readme-pipe": "docs/readme-pipe",
    "resume-sockets": "endpoint/topics/resume-sockets",
    "reuse-port": "engine/redis/reuse-port",
    units: "settings/units",
  }).map(testFuzzer),
];
