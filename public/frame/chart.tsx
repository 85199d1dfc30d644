/** A chart over the last minutes. */

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import { clock } from "../log/entry.ts";
import { nextToPage } from "./address.ts";
import { colorOf } from "./color.ts";
import { theme } from "./settings.ts";

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
  readonly height: number;
}

/** Names of CSS variables. Told apart also by people who see few colours: their brightness differs. */
const colors = ["copper", "blue", "green", "amber", "red", "curve-6", "curve-7", "curve-8"];

/** Undefined until the file has arrived. */
const library = signal<typeof uPlot | undefined>(undefined);

async function loadLibrary(): Promise<void> {
  library.value ??= ((await import(nextToPage("chart.js").href)) as { default: typeof uPlot }).default;
}

export function Chart({ label, times, curves, show, height }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | undefined>(undefined);
  const Plot = library.value;
  const names = curves.map((curve) => curve.label).join("\n");
  useEffect(() => {
    const { current } = box;
    if (!current) return;
    if (!Plot) {
      void loadLibrary();
      return;
    }
    const made = new Plot(optionsOf(current, curves, show, height), [[], ...curves.map(() => [])], current);
    chart.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: current.clientWidth, height }));
    observer.observe(current);
    return () => {
      observer.disconnect();
      made.destroy();
      chart.current = undefined;
    };
  }, [Plot, names, theme.value, height]);
  useEffect(() => {
    // Curves end together: one that began later has no values before.
    const aligned = curves.map(({ values }) => [
      ...Array(Math.max(0, times.length - values.length)).fill(null),
      ...values,
    ]);
    chart.current?.setData([[...times], ...aligned] as uPlot.AlignedData);
  });
  return <div ref={box} class="chart" role="img" aria-label={label} />;
}

export function curveColor(index: number): string {
  return `var(--${colors[index % colors.length]})`;
}

function optionsOf(
  box: HTMLElement,
  curves: readonly Curve[],
  show: (value: number) => string,
  height: number,
): uPlot.Options {
  const color = (name: string): string => colorOf(box, name);
  const axis = {
    stroke: color("ink-soft"),
    font: `11px ${getComputedStyle(box).fontFamily}`,
    grid: { stroke: color("edge"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: box.clientWidth,
    height,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 8, 0, 0],
    scales: { y: { range: (_chart, _min, max) => [0, Math.max(1, (max ?? 0) * 1.15)] } },
    axes: [
      {
        ...axis,
        values: (_chart, times) => times.map((time) => clock(time * 1000).slice(0, 8)),
        space: 90,
        size: 26,
      },
      { ...axis, values: (_chart, values) => values.map(show), size: 58 },
    ],
    series: [
      {},
      ...curves.map(({ label }, index) => ({
        label,
        stroke: color(colors[index % colors.length] ?? "copper"),
        width: 2,
        points: { show: false },
        spanGaps: false,
      })),
    ],
  };
}
