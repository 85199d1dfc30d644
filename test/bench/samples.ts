/** Every figure of a run, by row, peer and round, with their medians and ratios. */

/** One measurement, which has a line for each peer, such as "20 bytes, 1 in flight". */
export interface Row {
  readonly key: string;
  readonly heading: string;
}

/** One column of a table. */
export interface Measure<Key extends string = string> {
  /** Names the figure in a sample. */
  readonly key: Key;
  /** Includes the unit. */
  readonly heading: string;
  readonly better: "less" | "more";
}

export interface Sample {
  readonly round: number;
  readonly row: string;
  readonly peer: string;
  readonly figures: Readonly<Record<string, number>>;
}

export class Samples {
  readonly all: Sample[] = [];

  add(round: number, row: string, peer: string, figures: object): void {
    this.all.push({ round, row, peer, figures: { ...figures } });
  }

  /** By round, without the rounds that have no figure. */
  series(row: string, peer: string, measure: string): ReadonlyMap<number, number> {
    const ofPeer = this.all.filter((sample) => sample.row === row && sample.peer === peer);
    return new Map(ofPeer.map(({ round, figures }) => [round, figures[measure] ?? Number.NaN]));
  }

  median(row: string, peer: string, measure: string): number | undefined {
    return median([...this.series(row, peer, measure).values()]);
  }

  /** The figure of one peer divided by that of another. */
  ratio(row: string, peer: string, against: string, measure: string): number | undefined {
    return medianRatio(this.series(row, peer, measure), this.series(row, against, measure));
  }

  /** The figure of one row divided by that of another. */
  ratioOfRows(row: string, against: string, peer: string, measure: string): number | undefined {
    return medianRatio(this.series(row, peer, measure), this.series(against, peer, measure));
  }
}

/** The median of the ratios within each round, so that a slow round does not count. */
function medianRatio(
  series: ReadonlyMap<number, number>,
  others: ReadonlyMap<number, number>,
): number | undefined {
  return median(
    [...series].flatMap(([round, value]) => {
      const other = others.get(round);
      return other === undefined ? [] : [value / other];
    }),
  );
}

function median(values: readonly number[]): number | undefined {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  return upper === undefined || lower === undefined ? undefined : (upper + lower) / 2;
}

/** The order of the peers: another one is first each time, so that none always follows the same one. */
export function rotated<Item>(items: readonly Item[], by: number): Item[] {
  const first = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}
