/** The loads of the open benchmark: connections that are opened and ended, and lines of many topics that stay. */
import type { Target } from "./load.ts";
import { cpuMicroseconds, residentBytes } from "./process-usage.ts";
import { runPublishLoad } from "./publish-load.ts";
import { type Opening, openMany, Wire } from "./wire.ts";

export interface OpeningFigures {
  readonly openingMicroseconds: number;
}

export interface LinesFigures {
  readonly bytesPerLine: number;
  readonly publicationMicroseconds: number;
}

/** As many handshakes are under way at once. */
const atOnce = 16;

/** Opens and ends one connection after the other. One stays open meanwhile, so that its topics are not made anew each time. */
export async function runOpenings(
  { pid, port }: Target,
  opening: Omit<Opening, "port">,
  count: number,
): Promise<OpeningFigures> {
  const open = (): Promise<Wire> => Wire.open({ port, ...opening });
  const openAndEnd = async (): Promise<void> => (await open()).end();
  const staying = await open();
  const before = cpuMicroseconds(pid);
  await openMany(count, openAndEnd, atOnce);
  const openingMicroseconds = (cpuMicroseconds(pid) - before) / count;
  staying.end();
  return { openingMicroseconds };
}

export interface LinesLoad {
  readonly lines: number;
  /** Of each line, its own. */
  readonly topics: number;
  readonly settleSeconds: number;
  readonly seconds: number;
}

/** Opens lines of many topics each, all different, then publishes to one topic after the other. */
export async function runLines(
  server: Target,
  { lines, topics, settleSeconds, seconds }: LinesLoad,
): Promise<LinesFigures> {
  let opened = 0;
  const openNext = (): Promise<Wire> => {
    const first = opened++ * topics;
    // The names of publish-load.ts.
    const names = Array.from({ length: topics }, (_, index) => `publish/${first + index}`);
    return Wire.open({
      port: server.port,
      path: `/topics/${names.join(",")}`,
      subprotocol: "cloudevents.json",
    });
  };
  const before = residentBytes(server.pid);
  const wires = await openMany(lines, openNext, atOnce);
  await Bun.sleep(settleSeconds * 1000);
  const bytesPerLine = (residentBytes(server.pid) - before) / lines;
  const load = { connections: 16, topics: lines * topics, payloadBytes: 128, seconds };
  const { cpuMicroseconds: publicationMicroseconds } = await runPublishLoad(server, {
    ...load,
    leadSeconds: seconds / 2,
  });
  for (const wire of wires) wire.end();
  return { bytesPerLine, publicationMicroseconds };
}
