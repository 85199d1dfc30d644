/** The verdict and the report of a soak. */
import { readFileSync, writeFileSync } from "node:fs";
import type { LogLine } from "../support/server.ts";
import { median, type Sample } from "./samples.ts";
import { apiKey, jwtSecret } from "./stage.ts";
import type { Tally } from "./tally.ts";

/** The share of the run in which caches, compiled code and the idempotency keys of 5 minutes still grow. */
const warmUpShare = 1 / 6;

/** The median of the last quarter may be this much above that of the first; a leak of 1 KiB a connection is far more. */
const growthBound = { share: 0.1, bytes: 8 * 1024 ** 2, descriptors: 10 } as const;

/** Growth is not judged in a shorter run, which is mostly warm-up. */
const judgedMinutesMin = 10;

/** Descriptors that may be open at the end: those of the process itself, and kept-alive connections of our requests. */
const descriptorsLeftMax = 60;

const expectedLogLines: ReadonlySet<string> = new Set([
  "listening",
  "a slow reader is cut",
  "a page of another origin was refused",
  "topics are kept on disk",
]);

/** The log line that counts refusals and cuts, and the reasons that this load causes. */
const summaryLine = "refused or cut since the last such line";
const expectedReasons: ReadonlySet<string> = new Set([
  "origin",
  "token",
  "malformed",
  "method",
  "slow",
  "expired",
]);
const logFields: ReadonlySet<string> = new Set(["level", "time", "pid", "hostname", "msg"]);

function isExpected(line: LogLine): boolean {
  if (line.msg !== summaryLine) return expectedLogLines.has(String(line.msg));
  return Object.keys(line).every((name) => logFields.has(name) || expectedReasons.has(name));
}

export interface Findings {
  readonly samples: readonly Sample[];
  /** After all clients had left. */
  readonly left: Sample;
  readonly tally: Tally;
  readonly log: readonly LogLine[];
}

interface Growth {
  readonly first: number;
  readonly last: number;
  readonly bound: number;
}

export interface Verdict {
  readonly memory: Growth;
  readonly descriptors: Growth;
  /** In words. */
  readonly failures: readonly string[];
}

export function verdictOf({ samples, left, tally, log }: Findings): Verdict {
  const settled = samples.slice(Math.floor(samples.length * warmUpShare));
  const quarter = Math.max(1, Math.floor(settled.length / 4));
  const growth = (read: (sample: Sample) => number, allowance: number): Growth => {
    const first = median(settled.slice(0, quarter).map(read));
    const last = median(settled.slice(-quarter).map(read));
    return { first, last, bound: first * (1 + growthBound.share) + allowance };
  };
  const memory = growth((sample) => sample.residentBytes, growthBound.bytes);
  const descriptors = growth((sample) => sample.descriptors, growthBound.descriptors);
  const unexpected = log.filter((line) => !isExpected(line));
  const idle = Object.entries(countsOf(tally)).filter(([, count]) => count === 0);
  const isJudged = (samples.at(-1)?.seconds ?? 0) >= judgedMinutesMin * 60;
  const failures = [
    ...(isJudged && memory.last > memory.bound
      ? [`memory grew from ${mebibytes(memory.first)} to ${mebibytes(memory.last)}`]
      : []),
    ...(isJudged && descriptors.last > descriptors.bound
      ? [`descriptors grew from ${descriptors.first} to ${descriptors.last}`]
      : []),
    ...(left.connections > 0 ? [`${left.connections} connections are counted after all clients left`] : []),
    ...(left.descriptors > descriptorsLeftMax
      ? [`${left.descriptors} descriptors are open after all clients left`]
      : []),
    ...(tally.faultCount > 0 ? [`${tally.faultCount} faults, the first of them:`, ...tally.faults] : []),
    ...unexpected.slice(0, 20).map((line) => `an unexpected log line: ${JSON.stringify(line)}`),
    ...idle.map(([name]) => `did not occur: ${name}`),
  ];
  return { memory, descriptors, failures };
}

const countsOf = (tally: Tally): Record<string, number> => ({
  "messages published": tally.published,
  "publications repeated with their key": tally.repeated,
  "messages received, each the next one": tally.received,
  "returns that missed nothing": tally.resumed,
  "gaps reported": tally.gaps,
  "connections ended when their token expired": tally.expired,
  "slow readers cut": tally.slowReaders,
  "requests refused as they should": tally.refused,
  "connections dropped": tally.dropped,
  echoes: tally.echoes,
  "topics used once": tally.passingTopics,
  ...(tally.restarts > 0 ? { "kills of the server": tally.restarts } : {}),
});

export interface Report extends Omit<Findings, "log"> {
  readonly minutes: number;
  readonly seed: number;
  readonly flags: readonly string[];
  readonly verdict: Verdict;
  readonly machine: string;
}

const rowsMax = 12;

export function report({ minutes, seed, flags, samples, left, tally, verdict, machine }: Report): string {
  const { memory, descriptors, failures } = verdict;
  const every = Math.max(1, Math.ceil(samples.length / rowsMax));
  const rows = samples
    .filter((_, index) => index % every === every - 1)
    .map((sample) => row(minute(sample), sample));
  const last = samples.at(-1);
  const first = samples[0];
  const processor =
    first && last && last !== first
      ? ((last.cpuSeconds - first.cpuSeconds) / (last.seconds - first.seconds)) * 100
      : Number.NaN;
  return [
    `${new Date().toISOString().slice(0, 10)}, ${minutes} minutes, seed ${seed}, on ${machine}. ` +
      `The server took ${processor.toFixed(1)} % of a core, and was started with \`${shownFlags(flags)}\`.`,
    failures.length === 0 ? "**Everything held.**" : `**It did not hold: ${failures.join("; ")}.**`,
    [
      "| | first quarter | last quarter | bound |",
      "|---|---|---|---|",
      `| memory (RSS), median | ${mebibytes(memory.first)} | ${mebibytes(memory.last)} | ${mebibytes(memory.bound)} |`,
      `| descriptors, median | ${descriptors.first} | ${descriptors.last} | ${descriptors.bound.toFixed(0)} |`,
    ].join("\n"),
    [
      "| minute | memory | descriptors | connections | topics | history |",
      "|---|---|---|---|---|---|",
      ...rows,
      row("after all left", left),
    ].join("\n"),
    [
      "| seen | |",
      "|---|---|",
      ...Object.entries(countsOf(tally)).map(
        ([name, count]) => `| ${name} | ${count.toLocaleString("en")} |`,
      ),
      `| messages lost, doubled, out of order, or other faults | ${tally.faultCount} |`,
    ].join("\n"),
  ].join("\n\n");
}

const minute = ({ seconds }: Sample): string => (seconds / 60).toFixed(1);

const row = (
  when: string,
  { residentBytes, descriptors, connections, topics, historyBytes }: Sample,
): string =>
  `| ${when} | ${mebibytes(residentBytes)} | ${descriptors} | ${connections} | ${topics} | ${mebibytes(historyBytes)} |`;

const mebibytes = (bytes: number): string => `${(bytes / 1024 ** 2).toFixed(1)} MiB`;

/** The flags without the key and the secret. */
function shownFlags(flags: readonly string[]): string {
  return flags.map((word) => ([apiKey, jwtSecret].includes(word) ? "…" : word)).join(" ");
}

/** @param part `memory` or `data`, whose marks the page has @throws if it has not */
export function updatePage(page: string, part: string, text: string): void {
  const whole = readFileSync(page, "utf8");
  const [beginMark, endMark] = [
    `<!-- soak ${part}: written by bun run soak -->`,
    `<!-- end of soak ${part} -->`,
  ];
  const from = whole.indexOf(beginMark);
  const to = whole.indexOf(endMark);
  if (from < 0 || to < from) throw new Error(`${page} needs the two lines\n${beginMark}\n${endMark}`);
  writeFileSync(page, `${whole.slice(0, from + beginMark.length)}\n\n${text}\n\n${whole.slice(to)}`);
}
