/** A strict reader of the Prometheus text format, version 0.0.4: it throws for everything that breaks a rule. */
import type { RunningServer } from "./server.ts";

interface Metric {
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  /** By the labels as written, such as `form="raw"`; "" without labels. A histogram has `count`, `sum` and `le="0.1"`. */
  readonly samples: ReadonlyMap<string, number>;
}

export type Metrics = ReadonlyMap<string, Metric>;

/** @throws if the text breaks the format, or for a value that no counter or gauge of ours can have */
export function parseMetrics(text: string): Metrics {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const metrics = new Map<string, { type: Metric["type"]; help: string; samples: Map<string, number> }>();
  let help: { name: string; text: string } | undefined;
  let current: { name: string; samples: Map<string, number>; type: Metric["type"] } | undefined;
  for (const line of text.slice(0, -1).split("\n")) {
    const [, helpName, helpText] = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line) ?? [];
    const [, typeName, type] =
      /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (line === "") {
      current = undefined;
    } else if (helpName !== undefined && helpText !== undefined) {
      help = { name: helpName, text: helpText };
    } else if (typeName !== undefined) {
      if (help?.name !== typeName) throw new Error(`${typeName} has no HELP before its TYPE`);
      if (metrics.has(typeName)) throw new Error(`${typeName} is there twice`);
      current = { name: typeName, samples: new Map(), type: type as Metric["type"] };
      metrics.set(typeName, { type: current.type, help: help.text, samples: current.samples });
    } else {
      const [, name, labels = "", value] =
        /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (\S+)$/.exec(
          line,
        ) ?? [];
      const series = current?.type === "histogram" ? name?.slice(current.name.length + 1) : undefined;
      const isOfHistogram = series !== undefined && /^(?:bucket|sum|count)$/.test(series);
      const expected = isOfHistogram ? `${current?.name}_${series}` : current?.name;
      if (
        name === undefined ||
        !current ||
        name !== expected ||
        isOfHistogram !== (current.type === "histogram")
      )
        throw new Error(`out of its place: ${line}`);
      const number = Number(value);
      if (!Number.isFinite(number) || number < 0) throw new Error(`no value for a metric of ours: ${line}`);
      const key = isOfHistogram && series !== "bucket" ? series : labels;
      if (current.samples.has(key)) throw new Error(`twice: ${line}`);
      if (current.type === "counter" && !name.endsWith("_total"))
        throw new Error(`a counter without _total: ${line}`);
      current.samples.set(key, number);
    }
  }
  for (const [name, metric] of metrics) {
    if (metric.samples.size === 0) throw new Error(`${name} has no sample`);
    if (metric.type === "histogram") checkHistogram(name, metric.samples);
  }
  return metrics;
}

/** @throws if its buckets do not grow up to the one without a bound, which counts everything */
function checkHistogram(name: string, samples: ReadonlyMap<string, number>): void {
  const buckets = [...samples].filter(([labels]) => labels.startsWith("le="));
  const counts = buckets.map(([, value]) => value);
  const bounds = buckets.map(([labels]) =>
    Number(/^le="(.+)"$/.exec(labels)?.[1]?.replace("+Inf", "Infinity")),
  );
  const grows = (values: number[]): boolean =>
    values.every((value, index) => value >= (values[index - 1] ?? 0));
  if (!grows(counts) || !grows(bounds) || bounds.at(-1) !== Number.POSITIVE_INFINITY)
    throw new Error(`the buckets of ${name} do not grow up to +Inf`);
  if (!samples.has("sum") || samples.get("count") !== counts.at(-1))
    throw new Error(`${name} lacks its sum or count`);
}

export async function scrape(
  server: Pick<RunningServer, "url">,
  headers: Record<string, string> = {},
): Promise<Metrics> {
  const response = await fetch(new URL("/metrics", server.url), { headers });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`/metrics was answered with ${response.status}: ${text}`);
  return parseMetrics(text);
}

/** @throws if there is no such sample */
export function sampleOf(metrics: Metrics, name: string, labels = ""): number {
  const value = metrics.get(name)?.samples.get(labels);
  if (value === undefined) throw new Error(`there is no ${name}{${labels}}`);
  return value;
}

/** All samples of a metric with one label, by that label's value. */
export function samplesOf(metrics: Metrics, name: string): Record<string, number> {
  const { samples } = metrics.get(name) ?? { samples: new Map<string, number>() };
  return Object.fromEntries(
    Array.from(samples, ([labels, value]) => [/^\w+="(.*)"$/.exec(labels)?.[1] ?? "", value]),
  );
}

/** How often a message was given to the live subscribers of a form: counted once for each form that has one. */
export const deliveryCount = async (server: Pick<RunningServer, "url">): Promise<number> =>
  sampleOf(await scrape(server), "longwire_delivery_delay_seconds", "count");
