/** The aims of Longwire, compared with what was found. */
import type { Aim, Section } from "./benchmark.ts";
import { control, longwire, type ReadyPeer } from "./peer.ts";
import type { Measure, Row, Samples } from "./samples.ts";
import { ratioWords } from "./table.ts";

/** An aim for a ratio, which may not have been measured. */
const aimOf = (
  { heading }: Row,
  measure: Measure,
  words: string,
  ratio: number | undefined,
  isMet: (ratio: number) => boolean,
): Aim => ({
  aim: `${heading}: ${measure.heading} ${words}`,
  met: ratio !== undefined && isMet(ratio),
  found: ratio === undefined ? "not measured" : `×${ratio.toFixed(3)}`,
});

/** A figure of Longwire is at most `times` the figure of the control. */
export function atMostTimesControl(
  samples: Samples,
  row: Row,
  measure: Measure,
  times: number,
  peer = longwire.key,
): Aim {
  const found = samples.ratio(row.key, peer, control, measure.key);
  return aimOf(row, measure, `at most ×${times} the control's`, found, (ratio) => ratio <= times);
}

/** A figure of Longwire is at most `times` its figure in another row. */
export function atMostTimesRow(
  samples: Samples,
  row: Row,
  other: Row,
  measure: Measure,
  times: number,
  peer = longwire.key,
): Aim {
  const found = samples.ratioOfRows(row.key, other.key, peer, measure.key);
  return aimOf(row, measure, `at most ×${times} that of ${other.heading}`, found, (ratio) => ratio <= times);
}

/** A figure of one peer is at least `times` that of another. */
export function atLeastTimes(
  samples: Samples,
  row: Row,
  measure: Measure,
  peer: string,
  against: string,
  times: number,
): Aim {
  const found = samples.ratio(row.key, peer, against, measure.key);
  return aimOf(row, measure, `at least ×${times} those of ${against}`, found, (ratio) => ratio >= times);
}

/** A figure of one peer is at most `times` that of another. */
export function atMostTimes(
  samples: Samples,
  row: Row,
  measure: Measure,
  peer: string,
  against: string,
  times: number,
): Aim {
  const found = samples.ratio(row.key, peer, against, measure.key);
  return aimOf(row, measure, `at most ×${times} those of ${against}`, found, (ratio) => ratio <= times);
}

/** A figure of Longwire is at most `max`. */
export function atMost(
  samples: Samples,
  row: Row,
  measure: Measure,
  max: number,
  unit: string,
  peer = longwire.key,
): Aim {
  const value = samples.median(row.key, peer, measure.key);
  return {
    aim: `${row.heading}: ${measure.heading} at most ${max.toLocaleString("en-US")}`,
    met: value !== undefined && value <= max,
    found: value === undefined ? "not measured" : `${Math.round(value).toLocaleString("en-US")} ${unit}`,
  };
}

/** Longwire is better than another peer in every row in which both were measured. */
export function aheadOf(samples: Samples, peer: ReadyPeer, sections: readonly Section[]): Aim {
  const compared = sections.flatMap(({ rows, measures }) =>
    rows.flatMap((row) =>
      measures.flatMap((measure) => {
        const ratio = samples.ratio(row.key, longwire.key, peer.key, measure.key);
        if (ratio === undefined) return [];
        const ahead = measure.better === "less" ? ratio < 1 : ratio > 1;
        return [{ ahead, words: `${row.heading}, ${measure.heading}: ${ratioWords(ratio)}` }];
      }),
    ),
  );
  const behind = compared.filter(({ ahead }) => !ahead).map(({ words }) => words);
  return {
    aim: `ahead of ${peer.heading} in every row`,
    met: compared.length > 0 && behind.length === 0,
    found: behind.length > 0 ? `not in ${behind.join("; ")}` : `in all ${compared.length} figures`,
  };
}

/** A figure of Longwire is at least `times` that of another peer. @param measure one of which more is better */
export function timesAheadOf(
  samples: Samples,
  peer: ReadyPeer,
  row: Row,
  measure: Measure,
  times: number,
): Aim {
  const ratio = samples.ratio(row.key, longwire.key, peer.key, measure.key);
  return {
    aim: `${row.heading}: ${measure.heading} at least ×${times} of ${peer.heading}`,
    met: ratio !== undefined && ratio >= times,
    found: ratio === undefined ? "not measured" : ratioWords(ratio),
  };
}
