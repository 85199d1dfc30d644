/** The order of a run: in each round every server starts afresh, is warmed up, and takes its turns with the others. */
import { Attempts } from "./attempts.ts";
import type { RunOptions, Stage } from "./benchmark.ts";
import { type ReadyPeer, type RunningPeer, startPeer } from "./peer.ts";
import { Progress } from "./progress.ts";
import { type Row, rotated, Samples } from "./samples.ts";

export interface Plan {
  /** The machine code for a hot function is made while it runs. */
  warmUp(server: RunningPeer): Promise<unknown>;
  readonly measurements: readonly Measurement[];
}

interface Measurement {
  readonly row: Row;
  /** Keys; left out, all. */
  readonly peers?: readonly string[];
  /** In a process of its own that did nothing before; then no other process matters, and it is made once. */
  readonly fresh: boolean;
  measure(server: RunningPeer): Promise<object>;
}

export interface Figures {
  readonly samples: Samples;
  /** On what else the machine did meanwhile. */
  readonly interference: string;
}

export async function runRounds(
  { peers, placement }: Stage,
  { rounds, quick }: RunOptions,
  { warmUp, measurements }: Plan,
): Promise<Figures> {
  const turnsOf = ({ peers: keys }: Measurement, turn: number): ReadyPeer[] =>
    rotated(peers, turn).filter(({ key }) => keys?.includes(key) !== false);
  const perRound = peers.length + measurements.reduce((sum, one) => sum + turnsOf(one, 0).length, 0);
  const progress = new Progress(rounds * perRound);
  const attempts = new Attempts(quick ? 0 : Math.ceil((rounds * perRound) / 5));
  const samples = new Samples();

  for (let round = 0; round < rounds; round++) {
    const words = `round ${round + 1} of ${rounds}`;
    await using servers = new AsyncDisposableStack();
    const running = new Map<string, RunningPeer>();
    for (const peer of peers) {
      progress.next(`${words}: ${peer.heading} starts`);
      const server = servers.use(await startPeer(peer, placement.serverPrefix));
      running.set(peer.key, server);
      await warmUp(server);
    }
    for (const [turn, measurement] of measurements.filter(({ fresh }) => !fresh).entries()) {
      for (const peer of turnsOf(measurement, round + turn)) {
        progress.next(`${words}: ${measurement.row.heading}, ${peer.heading}`);
        const server = running.get(peer.key);
        if (!server) throw new Error(`${peer.heading} is not running`);
        const figures = await attempts.best(server.pid, () => measurement.measure(server));
        samples.add(round, measurement.row.key, peer.key, figures);
      }
    }
    await servers.disposeAsync();
    for (const measurement of measurements.filter(({ fresh }) => fresh)) {
      for (const peer of turnsOf(measurement, round)) {
        progress.next(`${words}: ${measurement.row.heading}, ${peer.heading}`);
        await using server = await startPeer(peer, placement.serverPrefix);
        samples.add(round, measurement.row.key, peer.key, await measurement.measure(server));
      }
    }
  }
  progress.end();
  return { samples, interference: attempts.words };
}

/** Of its core: from here on the load generator has a part in the rate. */
const generatorShareMax = 0.85;

/** A rate that the load generator sets says nothing of the server. */
export function generatorNotes(
  samples: Samples,
  rows: readonly Row[],
  peers: readonly ReadyPeer[],
): string[] {
  const full = rows.flatMap((row) => {
    const found = peers.filter(
      ({ key }) => (samples.median(row.key, key, "generatorShare") ?? 0) > generatorShareMax,
    );
    return found.length === 0 ? [] : [`${row.heading} (${found.map(({ heading }) => heading).join(", ")})`];
  });
  return full.length === 0
    ? []
    : [
        `The load generator's core was over ${generatorShareMax * 100} % full, so the rate is as much its own as the server's, in: ${full.join("; ")}.`,
      ];
}
