/** The time until a server answers, and its memory then, beside a bare Bun server. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { atMostTimesControl } from "./aims.ts";
import type { Benchmark } from "./benchmark.ts";
import { bareBun, longwire, type Peer, type RunningPeer, root } from "./peer.ts";
import { cpuMicroseconds, residentBytes } from "./process-usage.ts";
import type { Measure, Row } from "./samples.ts";

interface StartFigures {
  readonly milliseconds: number;
  readonly cpuMilliseconds: number;
  readonly residentMebibytes: number;
}

type StartMeasure = Measure<keyof StartFigures>;
const time: StartMeasure = { key: "milliseconds", heading: "until it answers, ms", better: "less" };
const cpu: StartMeasure = { key: "cpuMilliseconds", heading: "CPU until then, ms", better: "less" };
const memory: StartMeasure = { key: "residentMebibytes", heading: "memory then, MiB", better: "less" };

/** As it is started here, also in a quick run. */
const fromSource: Peer = { ...longwire, prepare: () => longwire.prepare(false) };

const row: Row = { key: "start", heading: "start" };

export const start: Benchmark = {
  name: "start",
  description: "from the start of a process to its first answer: time, CPU and memory",
  secondsDefault: 0.5,
  peers: [fromSource, bareBun("echo-bun.ts"), compiled(longwire)],
  plan: ({ seconds }) => ({
    title: "Start",
    load: "Time from the start of the process to the end of its first HTTP answer; resident memory after a rest",
    measurements: [{ row, fresh: true, measure: (server) => measureStart(server, seconds) }],
    sections: [{ rows: [row], measures: [time, cpu, memory] }],
    aims: (samples) => [
      atMostTimesControl(samples, row, time, 3),
      atMostTimesControl(samples, row, cpu, 4),
      atMostTimesControl(samples, row, memory, 1.33),
    ],
  }),
};

/** @param settleSeconds what the server has to finish before its memory is read */
async function measureStart(server: RunningPeer, settleSeconds: number): Promise<StartFigures> {
  await (await fetch(`http://127.0.0.1:${server.port}/ping`)).text();
  const milliseconds = performance.now() - server.beganMilliseconds;
  const cpuMilliseconds = cpuMicroseconds(server.pid) / 1000;
  await Bun.sleep(settleSeconds * 1000);
  return { milliseconds, cpuMilliseconds, residentMebibytes: residentBytes(server.pid) / 1024 ** 2 };
}

/** The same server as one file. */
function compiled({ key, heading, prepare }: Peer): Peer {
  return {
    key: `${key}-compiled`,
    heading: `${heading}, compiled`,
    prepare: async (quick) => {
      const program = await prepare(quick);
      if ("missing" in program || quick) return program;
      const folder = mkdtempSync(join(tmpdir(), "longwire-bench-"));
      process.on("exit", () => rmSync(folder, { recursive: true }));
      const binary = join(folder, "longwire");
      const build = Bun.spawnSync([process.execPath, "run", "build", "--outfile", binary], { cwd: root });
      if (!build.success) throw new Error(`it was not compiled: ${build.stderr}`);
      return { ...program, command: [binary, "--port", "0"] };
    },
  };
}
