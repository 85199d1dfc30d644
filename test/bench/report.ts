/** A run as tables in Markdown, and as JSON with every sample. */
import type { Outcome, RunOptions, Section } from "./benchmark.ts";
import { type Machine, machineWords } from "./machine.ts";
import { control, type ReadyPeer } from "./peer.ts";
import type { Samples } from "./samples.ts";
import { figure, ratioWords, table } from "./table.ts";

export interface Run {
  readonly benchmark: string;
  readonly startedAt: string;
  readonly durationSeconds: number;
  readonly options: RunOptions;
  readonly machine: Machine;
  readonly outcome: Outcome;
}

/** Medians and ratios, and every sample to check them with. */
export function toJson({ outcome, ...run }: Run): string {
  const { peers, sections, samples, ...rest } = outcome;
  const results = sections.flatMap(({ rows, measures }) =>
    rows.flatMap((row) =>
      measuredIn(rows, peers, samples).map((peer) => ({
        row: row.key,
        peer: peer.key,
        figures: Object.fromEntries(
          measures.map(({ key }) => [
            key,
            {
              median: samples.median(row.key, peer.key, key) ?? null,
              ratioToControl: samples.ratio(row.key, peer.key, control, key) ?? null,
            },
          ]),
        ),
      })),
    ),
  );
  const whole = {
    ...run,
    ...rest,
    peers: peers.map(({ key, heading, program }) => ({ key, heading, version: program.version })),
    sections,
    results,
    samples: samples.all,
  };
  return `${JSON.stringify(whole, undefined, 2)}\n`;
}

export function toMarkdown({ startedAt, durationSeconds, options, machine, outcome }: Run): string {
  const { peers, missing, sections, samples, aims, notes } = outcome;
  const minutes = Math.max(1, Math.round(durationSeconds / 60));
  return [
    `${startedAt.slice(0, 10)}, ${machineWords(machine)}; ${options.rounds} rounds of ${options.seconds} s a measurement, ${minutes} min in all. Each figure is the median of the rounds; × is its ratio to the control's of the same round, and the median of these.`,
    ...sections.map((section) => sectionTable(section, peers, samples)),
    table(
      ["aim", "", "found"],
      aims.map(({ aim, met, found }) => [aim, met ? "met" : "missed", found]),
      3,
    ),
    [...missing, ...notes, `Servers: ${peers.map(versionWords).join("; ")}.`]
      .map((note) => `- ${note}`)
      .join("\n"),
  ].join("\n\n");
}

function sectionTable({ rows, measures }: Section, peers: readonly ReadyPeer[], samples: Samples): string {
  const lines = rows.flatMap((row) =>
    measuredIn(rows, peers, samples).map((peer, index) => [
      index === 0 ? row.heading : "",
      peer.heading,
      ...measures.map(({ key }) => {
        const median = samples.median(row.key, peer.key, key);
        const ratio = peer.key === control ? undefined : samples.ratio(row.key, peer.key, control, key);
        return `${figure(median)} ${ratioWords(ratio)}`.trim();
      }),
    ]),
  );
  return table(["", "server", ...measures.map(({ heading }) => heading)], lines, 2);
}

/** Leaves out a server that has no figure in any of the rows. */
function measuredIn(
  rows: Section["rows"],
  peers: readonly ReadyPeer[],
  samples: Samples,
): readonly ReadyPeer[] {
  return peers.filter(({ key }) =>
    samples.all.some((sample) => sample.peer === key && rows.some((row) => row.key === sample.row)),
  );
}

function versionWords({ heading, program }: ReadyPeer): string {
  return `${heading} (${program.version})`;
}
