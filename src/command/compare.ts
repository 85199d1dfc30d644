/** `longwire check --compare`: which of several servers is nearest to this machine. */
import { CheckTarget } from "./check-target.ts";
import { causeOf, checkConnect, checkWebSocket, type Finding, wrong } from "./check-transports.ts";

export interface CompareTask {
  /** Where the servers are. */
  readonly bases: readonly string[];
  readonly token: string;
  readonly json: boolean;
}

/** How often each server is measured, in turn: a line that is busy for a moment must not decide. */
const rounds = 3;

export interface Compared {
  readonly url: string;
  /** Medians in milliseconds; undefined where the server was not reached in each round. */
  readonly connectMilliseconds?: number;
  readonly roundTripMilliseconds?: number;
  /** Why it was not reached. */
  readonly fault?: string;
}

/** Prints the servers, the nearest first. @returns whether all were reached */
export async function runCompare({ bases, token, json }: CompareTask): Promise<boolean> {
  const findings = new Map<string, Finding[]>(bases.map((base) => [base, []]));
  for (let round = 0; round < rounds; round++)
    for (const [base, found] of findings) {
      const target = new CheckTarget(base, "", token);
      for (const check of [checkConnect, checkWebSocket]) found.push(await check(target).catch(unreached));
    }
  const compared = [...findings].map(([url, found]) => comparedOf(url, found)).toSorted(nearestFirst);
  console.log(json ? JSON.stringify(compared, undefined, 2) : textOf(compared));
  return compared.every(({ fault }) => fault === undefined);
}

const unreached = (error: unknown): Finding => wrong("connect", causeOf(error));

function comparedOf(url: string, findings: readonly Finding[]): Compared {
  const fault = findings.find(({ isFine }) => !isFine)?.text;
  if (fault !== undefined) return { url, fault };
  const figures = (check: string, name: string): number[] =>
    findings.filter((finding) => finding.check === check).map((finding) => Number(finding.figures?.[name]));
  return {
    url,
    connectMilliseconds: median(figures("connect", "milliseconds")),
    roundTripMilliseconds: median(figures("WebSocket", "median")),
  };
}

const median = (numbers: readonly number[]): number =>
  numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)] ?? Number.NaN;

const nearestFirst = (one: Compared, other: Compared): number =>
  (one.roundTripMilliseconds ?? Number.POSITIVE_INFINITY) -
  (other.roundTripMilliseconds ?? Number.POSITIVE_INFINITY);

function textOf(compared: readonly Compared[]): string {
  const width = Math.max(...compared.map(({ url }) => url.length));
  const lines = compared.map(({ url, connectMilliseconds, roundTripMilliseconds, fault }) =>
    fault === undefined
      ? `✓ ${url.padEnd(width)}  round trip ${roundTripMilliseconds} ms, connect ${connectMilliseconds} ms`
      : `✗ ${url.padEnd(width)}  ${fault}`,
  );
  const [nearest] = compared;
  const isReached = nearest?.fault === undefined;
  return [...lines, isReached ? `Nearest: ${nearest?.url}` : "None was reached."].join("\n");
}
