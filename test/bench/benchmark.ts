/** What every benchmark is given, and what it hands back to be reported. */

import type { Peer, ReadyPeer } from "./peer.ts";
import { type Placement, placeLoadGenerator } from "./processors.ts";
import type { Measure, Row, Samples } from "./samples.ts";

export interface Benchmark {
  readonly name: string;
  readonly description: string;
  /** Of each measurement. */
  readonly secondsDefault: number;
  run(options: RunOptions): Promise<Outcome>;
}

export interface RunOptions {
  readonly rounds: number;
  /** Of each measurement. */
  readonly seconds: number;
  /** Shows that all of it works; its figures mean nothing. */
  readonly quick: boolean;
  readonly pin: boolean;
  /** Keys; left out, all. */
  readonly peers?: readonly string[];
}

export interface Outcome {
  readonly title: string;
  readonly peers: readonly ReadyPeer[];
  /** Why a peer was not measured, in words. */
  readonly missing: readonly string[];
  readonly sections: readonly Section[];
  readonly samples: Samples;
  readonly aims: readonly Aim[];
  readonly notes: readonly string[];
}

/** One table. */
export interface Section {
  readonly rows: readonly Row[];
  /** The chart shows the first. */
  readonly measures: readonly Measure[];
}

export interface Aim {
  readonly aim: string;
  readonly met: boolean;
  readonly found: string;
}

export interface Stage {
  readonly peers: readonly ReadyPeer[];
  readonly missing: readonly string[];
  readonly placement: Placement;
}

/** Makes the peers ready, then pins this process: building may use every core. */
export async function setStage(peers: readonly Peer[], options: RunOptions): Promise<Stage> {
  const unknown = options.peers?.find((key) => !peers.some((peer) => peer.key === key));
  if (unknown !== undefined) {
    throw new Error(`there is no peer "${unknown}"; there are ${peers.map(({ key }) => key).join(", ")}`);
  }
  const ready: ReadyPeer[] = [];
  const missing: string[] = [];
  for (const { key, heading, prepare } of peers) {
    if (options.peers?.includes(key) === false) continue;
    const preparation = await prepare();
    if ("missing" in preparation) missing.push(`${heading} is left out: ${preparation.missing}`);
    else ready.push({ key, heading, program: preparation });
  }
  const placement = options.pin
    ? placeLoadGenerator()
    : { serverPrefix: [], words: "the load generator and the servers pinned to no core" };
  return { peers: ready, missing, placement };
}
