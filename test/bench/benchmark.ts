/** What a benchmark declares, and what its run returns to be reported. */

import type { Peer, ReadyPeer, RunningPeer } from "./peer.ts";
import { type Placement, placeLoadGenerator } from "./processors.ts";
import type { Measure, Row, Samples } from "./samples.ts";

export interface Benchmark {
  readonly name: string;
  readonly description: string;
  /** Of each measurement. */
  readonly secondsDefault: number;
  readonly peers: readonly Peer[];
  plan(options: RunOptions): Plan;
}

export interface RunOptions {
  readonly rounds: number;
  /** Of each measurement. */
  readonly seconds: number;
  /** Shows that all of it works; its figures mean nothing. */
  readonly quick: boolean;
  readonly pin: boolean;
  /** Keys; all if left out. */
  readonly peers?: readonly string[];
  /** Another checkout of Longwire, which is measured in the same rounds. */
  readonly checkout?: string;
}

export interface Plan {
  readonly title: string;
  /** Lets the server compile its hot functions. Not called for measurements with a fresh process. */
  warmUp?(server: RunningPeer, peer: string): Promise<unknown>;
  readonly measurements: readonly Measurement[];
  readonly sections: readonly Section[];
  aims(samples: Samples, peers: readonly ReadyPeer[]): readonly Aim[];
  /** For the report: what the load is. */
  readonly load: string;
}

export interface Measurement {
  readonly row: Row;
  /** Keys; all if left out. */
  readonly peers?: readonly string[];
  /** In a process of its own that did nothing before. It is made once, since other processes do not matter for it. */
  readonly fresh: boolean;
  measure(server: RunningPeer): Promise<object>;
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

/** Of a measurement in a quick run, which takes longer only to see one answer. */
export const quickSeconds = 0.001;

/** The times of a measurement: shorter in a quick run. */
export function loadTimes({ quick, seconds }: RunOptions): { leadSeconds: number; seconds: number } {
  return { leadSeconds: quick ? 0 : 0.3, seconds };
}

/** The times of a warm-up. */
export function warmUpTimes({ quick }: RunOptions): { leadSeconds: number; seconds: number } {
  return { leadSeconds: 0, seconds: quick ? quickSeconds : 1 };
}

/** Makes the peers ready, then pins this process: building may use every core. */
export async function setStage(peers: readonly Peer[], options: RunOptions): Promise<Stage> {
  const unknown = options.peers?.find((key) => !peers.some((peer) => peer.key === key));
  if (unknown !== undefined) {
    throw new Error(`there is no peer "${unknown}"; there are ${peers.map(({ key }) => key).join(", ")}`);
  }
  const ready: ReadyPeer[] = [];
  const missing: string[] = [];
  const chosen = peers.filter(({ key }) => options.peers?.includes(key) !== false);
  for (const { prepare, ...peer } of chosen.flatMap((peer) => withOther(peer, options.checkout))) {
    const preparation = await prepare(options.quick);
    if ("missing" in preparation) missing.push(`${peer.heading} is left out: ${preparation.missing}`);
    else ready.push({ ...peer, program: preparation });
  }
  const placement = options.pin
    ? placeLoadGenerator()
    : { serverPrefix: [], words: "the load generator and the servers pinned to no core" };
  return { peers: ready, missing, placement };
}

function withOther(peer: Peer, checkout: string | undefined): Peer[] {
  const other = checkout === undefined ? undefined : peer.in?.(checkout);
  return other ? [peer, other] : [peer];
}
