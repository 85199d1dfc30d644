/** The text format of Prometheus, version 0.0.4 (its "Exposition formats"). */
import type { Metric } from "../metrics.ts";

export const prometheusType = "text/plain; version=0.0.4; charset=utf-8";

export async function prometheusText(metrics: readonly Metric[]): Promise<string> {
  const parts = await Promise.all(
    metrics.map(async (metric) => {
      const { name, help, type } = metric;
      return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${(await samplesOf(metric)).join("")}`;
    }),
  );
  return parts.join("");
}

async function samplesOf(metric: Metric): Promise<string[]> {
  const { name } = metric;
  if ("read" in metric) return [`${name} ${await metric.read()}\n`];
  if ("readLabelled" in metric)
    return Object.entries(metric.readLabelled()).map(
      ([value, number]) => `${name}{${metric.label}="${escapeLabel(value)}"} ${number}\n`,
    );
  const { bounds, counts, sum } = metric.readHistogram();
  let total = 0;
  const buckets = counts.map((count, index) => {
    total += count; // A bucket holds what those below it hold, too.
    return `${name}_bucket{le="${bounds[index] ?? "+Inf"}"} ${total}\n`;
  });
  return [...buckets, `${name}_sum ${sum}\n`, `${name}_count ${total}\n`];
}

const escapeLabel = (value: string): string =>
  value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
