/** A load on a server: what its connections count, and the figures of its timed part. */
import { Latencies } from "./latencies.ts";
import type { Measure } from "./samples.ts";
import { startStopwatch } from "./stopwatch.ts";

/** The server under load, on 127.0.0.1. */
export interface Target {
  readonly pid: number;
  readonly port: number;
}

export interface LoadTimes {
  /** Under load before anything is counted. */
  readonly leadSeconds: number;
  readonly seconds: number;
}

export interface LoadFigures {
  /** Of the server, per item. */
  readonly cpuMicroseconds: number;
  readonly itemsPerSecond: number;
  readonly medianMilliseconds: number;
  readonly p99Milliseconds: number;
  /** Of one core: near 1 the load generator, not the server, limits the rate. */
  readonly generatorShare: number;
}

export class Load {
  /** Messages, deliveries or requests so far, counted by the connections. */
  items = 0;
  /** Set while latencies are measured. */
  latencies: Latencies | undefined;
  #failure: Error | undefined;
  readonly #failed = Promise.withResolvers<void>();

  /** Ends the load with an error. */
  readonly fail = (error: Error): void => {
    this.#failure ??= error;
    this.#failed.resolve();
  };

  /** Measures a load that already runs. @throws what a connection failed with */
  async measure(serverPid: number, { leadSeconds, seconds }: LoadTimes): Promise<LoadFigures> {
    await this.#wait(leadSeconds);
    const latencies = new Latencies();
    this.latencies = latencies;
    this.items = 0;
    const stop = startStopwatch(serverPid);
    await this.#wait(seconds);
    while (latencies.isEmpty) await this.#wait(0.01); // On a busy machine a quick run may have seen nothing yet.
    const elapsed = stop();
    return {
      cpuMicroseconds: elapsed.serverCpuMicroseconds / this.items,
      itemsPerSecond: this.items / elapsed.seconds,
      medianMilliseconds: latencies.percentile(0.5),
      p99Milliseconds: latencies.percentile(0.99),
      generatorShare: elapsed.generatorShare,
    };
  }

  async #wait(seconds: number): Promise<void> {
    await Promise.race([Bun.sleep(seconds * 1000), this.#failed.promise]);
    if (this.#failure) throw this.#failure;
  }
}

type LoadMeasure = Measure<keyof LoadFigures>;

export interface LoadMeasures {
  readonly cpu: LoadMeasure;
  readonly rate: LoadMeasure;
  readonly median: LoadMeasure;
  readonly p99: LoadMeasure;
}

/** @param timed the end of the timed span where it is not the answer, such as " to all" */
export function loadMeasures(item: string, items: string, timed = ""): LoadMeasures {
  return {
    cpu: { key: "cpuMicroseconds", heading: `server CPU, µs a ${item}`, better: "less" },
    rate: { key: "itemsPerSecond", heading: `${items} a second`, better: "more" },
    median: { key: "medianMilliseconds", heading: `p50${timed}, ms`, better: "less" },
    p99: { key: "p99Milliseconds", heading: `p99${timed}, ms`, better: "less" },
  };
}
