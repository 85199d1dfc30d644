/** The order of a run: in each round every server starts afresh, is warmed up, and takes its turns with the others. */
import { Attempts } from "./attempts.ts";
import {
  type Benchmark,
  type Measurement,
  type Outcome,
  type Plan,
  type RunOptions,
  type Stage,
  setStage,
} from "./benchmark.ts";
import { type ReadyPeer, type RunningPeer, startPeer } from "./peer.ts";
import { Progress } from "./progress.ts";
import { type Row, rotated, Samples } from "./samples.ts";

export async function runBenchmark(benchmark: Benchmark, options: RunOptions): Promise<Outcome> {
  const stage = await setStage(benchmark.peers, options);
  const plan = benchmark.plan(options);
  const rounds = new Rounds(stage, plan, options);
  for (let round = 0; round < options.rounds; round++) await rounds.run(round);
  const { samples, interference } = rounds.end();
  const { title, sections, load, aims } = plan;
  return {
    title,
    peers: stage.peers,
    missing: stage.missing,
    sections,
    samples,
    aims: aims(samples, stage.peers),
    notes: [
      `${load}; ${stage.placement.words}.`,
      `Of interference: ${interference}.`,
      ...generatorNotes(
        samples,
        plan.measurements.map(({ row }) => row),
        stage.peers,
      ),
    ],
  };
}

class Rounds {
  readonly #stage: Stage;
  readonly #plan: Plan;
  readonly #shared: readonly Measurement[];
  readonly #fresh: readonly Measurement[];
  readonly #progress: Progress;
  readonly #attempts: Attempts;
  readonly #samples = new Samples();
  readonly #count: number;

  constructor(stage: Stage, plan: Plan, { rounds, quick }: RunOptions) {
    this.#stage = stage;
    this.#plan = plan;
    this.#shared = plan.measurements.filter(({ fresh }) => !fresh);
    this.#fresh = plan.measurements.filter(({ fresh }) => fresh);
    this.#count = rounds;
    const starts = this.#shared.length === 0 ? 0 : stage.peers.length;
    const turns = plan.measurements.reduce((sum, one) => sum + this.#turnsOf(one, 0).length, 0);
    this.#progress = new Progress(rounds * (starts + turns));
    this.#attempts = new Attempts(quick ? 0 : Math.ceil((rounds * (starts + turns)) / 5));
  }

  async run(round: number): Promise<void> {
    const words = `round ${round + 1} of ${this.#count}`;
    if (this.#shared.length > 0) await this.#measureShared(round, words);
    for (const { row, measure, ...rest } of this.#fresh) {
      for (const peer of this.#turnsOf(rest, round)) {
        this.#progress.next(`${words}: ${row.heading}, ${peer.heading}`);
        await using server = await startPeer(peer, this.#stage.placement.serverPrefix);
        this.#samples.add(round, row.key, peer.key, await measure(server));
      }
    }
  }

  end(): { samples: Samples; interference: string } {
    this.#progress.end();
    return { samples: this.#samples, interference: this.#attempts.words };
  }

  async #measureShared(round: number, words: string): Promise<void> {
    await using servers = new AsyncDisposableStack();
    const running = new Map<string, RunningPeer>();
    for (const peer of this.#stage.peers) {
      this.#progress.next(`${words}: ${peer.heading} starts`);
      const server = servers.use(await startPeer(peer, this.#stage.placement.serverPrefix));
      running.set(peer.key, server);
      await this.#plan.warmUp?.(server, peer.like ?? peer.key);
    }
    for (const [turn, measurement] of this.#shared.entries()) {
      for (const peer of this.#turnsOf(measurement, round + turn)) {
        this.#progress.next(`${words}: ${measurement.row.heading}, ${peer.heading}`);
        const server = running.get(peer.key);
        if (!server) throw new Error(`${peer.heading} is not running`);
        const figures = await this.#attempts.best(server.pid, () => measurement.measure(server));
        this.#samples.add(round, measurement.row.key, peer.key, figures);
      }
    }
  }

  #turnsOf({ peers: keys }: Pick<Measurement, "peers">, turn: number): ReadyPeer[] {
    return rotated(this.#stage.peers, turn).filter(({ key, like = key }) => keys?.includes(like) !== false);
  }
}

/** The share of its core from which on the load generator limits the rate. */
const generatorShareMax = 0.85;

/** A rate that the load generator limits says nothing about the server. */
function generatorNotes(samples: Samples, rows: readonly Row[], peers: readonly ReadyPeer[]): string[] {
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
