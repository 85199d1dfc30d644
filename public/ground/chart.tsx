/** A chart over the last minutes. */
import { clock } from "./times.ts";

interface Curve {
  readonly label: string;
  /** By time; null where there is none. */
  readonly values: readonly (number | null)[];
}

interface ChartProps {
  readonly label: string;
  /** Seconds since 1970. */
  readonly times: readonly number[];
  readonly curves: readonly Curve[];
  /** Writes a value of the vertical axis. */
  readonly show: (value: number) => string;
}

/** Names of CSS variables. Told apart also by people who see few colours: their brightness differs. */
const colors = ["copper", "blue", "green", "amber", "red", "curve-6", "curve-7", "curve-8"];

export function Chart({ label, times, curves, show }: ChartProps) {
  const top = topOf(Math.max(0, ...curves.flatMap(({ values }) => values.map((value) => value ?? 0))));
  const time = (index: number): string => {
    const seconds = times.at(index);
    return seconds === undefined ? "" : clock(seconds * 1000).slice(0, 8);
  };
  return (
    <div class="chart" role="img" aria-label={label}>
      <span>{show(top)}</span>
      <span>{show(top / 2)}</span>
      <span>0</span>
      <svg viewBox="0 0 300 100" preserveAspectRatio="none" aria-hidden="true">
        <path class="grid" d="M0 0H300M0 50H300M0 100H300" />
        {curves.map(({ label, values }, index) => (
          <path key={label} d={pathOf(values, times, top)} style={{ stroke: curveColor(index) }} />
        ))}
      </svg>
      <span>{time(0)}</span>
      <span>{time(-1)}</span>
    </div>
  );
}

export function curveColor(index: number): string {
  return `var(--${colors[index % colors.length]})`;
}

/** The end of the vertical axis: a power of two, or three quarters of it, whose half is a whole number too. */
function topOf(max: number): number {
  const power = 2 ** Math.ceil(Math.log2(Math.max(2, max)));
  return power >= 8 && max <= power * 0.75 ? power * 0.75 : power;
}

/** Points are a second apart. Over a longer pause, such as while the server was away, nothing is known. */
const pauseSecondsMax = 3;

/** Curves end together: one that began later has no values before. A value alone is a dot. */
function pathOf(values: readonly (number | null)[], times: readonly number[], top: number): string {
  const [first = 0, last = 0] = [times[0], times.at(-1)];
  const timeOf = (index: number): number => times[index + times.length - values.length] ?? first;
  const isDrawn = (index: number): boolean =>
    typeof values[index] === "number" && timeOf(index + 1) - timeOf(index) <= pauseSecondsMax;
  return values
    .map((value, index) => {
      if (value === null) return "";
      const place = `${((timeOf(index) - first) / Math.max(1, last - first)) * 300} ${100 - (value / top) * 100}`;
      return isDrawn(index - 1) ? `L${place}` : `M${place}h0`;
    })
    .join("");
}
