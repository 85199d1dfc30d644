/** A run as a picture: a panel for each row, a bar for each server, shorter is better. */

import { element } from "../support/svg.ts";
import type { Outcome } from "./benchmark.ts";
import { control, longwire } from "./peer.ts";
import { figure, ratioWords } from "./table.ts";

interface Panel {
  readonly heading: string;
  readonly bars: readonly {
    key: string;
    heading: string;
    value: number;
    ratio: number | undefined;
  }[];
}

/** In pixels. */
const width = 760;
const barsFrom = 190;
const barsTo = 600;
const barHeight = 18;
const panelHeading = 34;
const panelGap = 14;
const titleHeight = 30;

const style = `
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.panel { font-weight: 600 }
.bar { fill: #9aa4ae } .bar.control { fill: #57606a } .bar.longwire { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #57606a } .bar.control { fill: #9aa4ae } .bar.longwire { fill: #58a6ff }
}`;

export function toSvg({ title, sections, peers, samples }: Outcome): string {
  const panels = sections.flatMap(({ rows, measures }) =>
    rows.map((row): Panel => {
      const [measure] = measures;
      const key = measure?.key ?? "";
      return {
        heading: `${row.heading}: ${measure?.heading}`,
        bars: peers.flatMap((peer) => {
          const value = samples.median(row.key, peer.key, key);
          if (value === undefined) return [];
          const ratio = peer.key === control ? undefined : samples.ratio(row.key, peer.key, control, key);
          return [{ key: peer.key, heading: peer.heading, value, ratio }];
        }),
      };
    }),
  );
  let height = titleHeight;
  const drawn = panels.map((panel) => {
    const top = height;
    height += panelHeading + panel.bars.length * barHeight + panelGap;
    return drawPanel(panel, top);
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    element("title", {}, title),
    `<style>${style}\n</style>`,
    element("text", { x: 8, y: 22, class: "title" }, title),
    ...drawn,
    "</svg>\n",
  ].join("\n");
}

function drawPanel({ heading, bars }: Panel, top: number): string {
  const largest = Math.max(...bars.map(({ value }) => value));
  const lines = bars.flatMap(({ key, heading, value, ratio }, index) => {
    const y = top + panelHeading + index * barHeight;
    const length = largest === 0 ? 0 : (value / largest) * (barsTo - barsFrom);
    const role = key === longwire.key ? "bar longwire" : key === control ? "bar control" : "bar";
    return [
      element("text", { x: barsFrom - 8, y: y + 13, "text-anchor": "end" }, heading),
      element("rect", {
        x: barsFrom,
        y: y + 2,
        width: Math.max(1, length).toFixed(1),
        height: barHeight - 4,
        rx: 2,
        class: role,
      }),
      element(
        "text",
        { x: (barsFrom + length + 8).toFixed(1), y: y + 13 },
        `${figure(value)} ${ratioWords(ratio)}`,
      ),
    ];
  });
  return [element("text", { x: 8, y: top + 24, class: "panel" }, heading), ...lines].join("\n");
}
