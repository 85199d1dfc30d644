/** Rounds of power cuts: each records a program, cuts its power in every way, and goes on with what one of the cuts left. */
import { Random } from "../support/random.ts";
import type { OldData } from "./fixtures/old-data.ts";
import { survivals } from "./replay.ts";
import { limitsWith, PowerStage, workerUrl } from "./stage.ts";
import type { WriterOptions } from "./writer.ts";

export interface PowerCuts {
  readonly seed: number;
  readonly rounds: readonly Round[];
  /** In each round. */
  readonly cuts: number;
  /** What the directory has before the first round. */
  readonly oldData?: OldData;
  /** Of the program that writes. */
  readonly worker?: URL;
}

interface Round extends Pick<WriterOptions, "publications" | "secondsMin" | "failing"> {
  readonly historyMessages: number;
  readonly historyBytesMax?: number;
}

/** Numbers of publications of a round, and of a seed. */
const numbersOfRound = 1_000_000;
const numbersOfSeed = 100 * numbersOfRound;

export interface CutTally {
  readonly cuts: number;
  /** Acknowledged before each of the cuts, all together. */
  readonly acknowledged: number;
  /** Syncs that failed. */
  readonly failedSyncs: number;
}

/** @throws what an engine has lost, and after which cut */
export async function cutPower({
  seed,
  rounds,
  cuts: cutsOfRound,
  oldData,
  worker = workerUrl,
}: PowerCuts): Promise<CutTally> {
  const random = new Random(seed);
  await using stage = new PowerStage(worker);
  if (oldData) stage.adopt(oldData);
  let [cuts, acknowledged, failedSyncs] = [0, 0, 0];
  for (const [round, { historyMessages, historyBytesMax, ...run }] of rounds.entries()) {
    const firstNumber = (seed % 10) * numbersOfSeed + round * numbersOfRound;
    const recording = await stage.record({
      ...run,
      limits: limitsWith(historyMessages, historyBytesMax),
      seed: seed + round,
      firstNumber,
    });
    failedSyncs += recording.entries.filter(({ kind, result }) => kind === "sync end" && result < 0).length;
    const goingOn = random.below(cutsOfRound);
    for (let index = 0; index < cutsOfRound; index++) {
      const survival = survivals[cuts % survivals.length] ?? "none";
      const at = random.between(1, recording.entries.length);
      const goesOn = index === goingOn;
      try {
        acknowledged += await stage.cut(recording, { at, survival, random, goesOn });
      } catch (error) {
        throw new Error(
          `round ${round}, cut after ${at} of ${recording.entries.length}, ${survival}: ${error}`,
          { cause: error },
        );
      }
      cuts++;
    }
  }
  return { cuts, acknowledged, failedSyncs };
}
