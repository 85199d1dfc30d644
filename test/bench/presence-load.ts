/** The load of the presence benchmark: lines of many topics, without a member and with one. */
import type { Target } from "./load.ts";
import { cpuMicroseconds, residentBytes } from "./process-usage.ts";
import { openMany, Wire } from "./wire.ts";

export interface MemberFigures {
  readonly bytesPerMember: number;
  readonly joinMicroseconds: number;
  /** 0 for a server without Redis. */
  readonly redisMicroseconds: number;
}

export interface MembersLoad {
  readonly lines: number;
  readonly topicsOfLine: number;
  readonly topics: number;
  readonly settleSeconds: number;
  readonly redisPid: number | undefined;
}

/** As many handshakes are under way at once. */
const atOnce = 16;

export async function runMembers(server: Target, load: MembersLoad): Promise<MemberFigures> {
  const { lines, topicsOfLine, settleSeconds, redisPid } = load;
  const usage = (): readonly number[] => [
    residentBytes(server.pid),
    cpuMicroseconds(server.pid),
    redisPid === undefined ? 0 : cpuMicroseconds(redisPid),
  ];
  const wires: Wire[] = [];
  /** @returns what so many lines have taken, each kind of usage by itself */
  const open = async (query: (line: number) => string): Promise<number[]> => {
    const before = usage();
    let opened = 0;
    const openNext = (): Promise<Wire> => {
      const line = opened++;
      const path = `/topics/${topicsOf(line, load).join(",")}${query(line)}`;
      return Wire.open({ port: server.port, path, subprotocol: "cloudevents.json" });
    };
    wires.push(...(await openMany(lines, openNext, atOnce)));
    await Bun.sleep(settleSeconds * 1000);
    return usage().map((used, kind) => used - (before[kind] ?? 0));
  };
  const plain = await open(() => "");
  const seen = await open((line) => `?member=member-${line}`);
  for (const wire of wires) wire.end();
  const joins = lines * topicsOfLine;
  const [bytes = 0, cpu = 0, redis = 0] = seen.map((used, kind) => (used - (plain[kind] ?? 0)) / joins);
  return { bytesPerMember: bytes, joinMicroseconds: cpu, redisMicroseconds: redis };
}

const topicsOf = (line: number, { topicsOfLine, topics }: MembersLoad): string[] =>
  Array.from({ length: topicsOfLine }, (_, index) => `room/${(line * topicsOfLine + index) % topics}`);
