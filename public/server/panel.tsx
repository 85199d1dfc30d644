/** The server panel: what the server measures of itself, as charts over the last minutes. */
import { Chart } from "../ground/chart.tsx";
import { words } from "../ground/words.ts";
import type { Words } from "../words/english.ts";
import { rates, type ServerStatus, type Status, subscribersOf, sumOf } from "./status.ts";
import { TopicList } from "./topic-list.tsx";

interface ServerPanelProps {
  readonly status: ServerStatus;
  /** The figures are then the last ones from before. */
  readonly isAway: boolean;
  readonly onFollow: (topic: string) => void;
}

export function ServerPanel({ status, isAway, onFollow }: ServerPanelProps) {
  const say = words.value;
  const samples = status.samples.value;
  const latest = samples.at(-1);
  const refusal = status.refusal.value;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and nothing else in it takes the keyboard there.
    <section class="panel" id="server" aria-labelledby="server-title" tabIndex={0}>
      <header class="heading">
        <h2 id="server-title">{say.serverTitle}</h2>
        <p>{say.serverMeaning}</p>
      </header>
      {refusal && (
        <p class="help" data-part="statusRefused">
          {refusal.status === 401 || refusal.status === 403
            ? say.statusNeedsToken
            : say.reason(refusal.detail)}
        </p>
      )}
      {isAway && (
        <p class="help" data-part="statusAway">
          {say.statusAway}
        </p>
      )}
      {latest ? <Figures latest={latest} /> : !refusal && <p class="guide">{say.statusWaiting}</p>}
      <TopicList status={status} onFollow={onFollow} />
      {latest && <Charts samples={samples} say={say} />}
    </section>
  );
}

function Figures({ latest }: { readonly latest: Status }) {
  const say = words.value;
  const { engine, connections } = latest;
  const number = (value: number): string => value.toLocaleString(say.tag);
  const kinds = Object.entries(connections).filter(([, count]) => count > 0);
  const state = engine.available ? say.engineAvailable : say.engineAway(engine.reason ?? "");
  const figures: readonly (readonly [string, string, string])[] = [
    ["version", say.version, `${latest.version}${latest.draining ? `, ${say.draining}` : ""}`],
    ["uptime", say.uptime, say.duration(latest.uptimeSeconds)],
    [
      "kinds",
      say.connectionsByKind,
      kinds.map(([kind, count]) => `${kind} ${number(count)}`).join(", ") || "0",
    ],
    ["engine", say.engine, `${engine.kind}, ${state}`],
    [
      "kept",
      say.kept,
      engine.topics === undefined ? "–" : say.keptTopics(engine.topics, bytes(engine.historyBytes ?? 0)),
    ],
    ["resumes", say.resumes, say.resumesOf(latest.resumes.complete, latest.resumes.gap)],
    ["gaps", say.gapsReported, number(latest.gaps)],
    ["cutters", say.cutByServer, countsOf(latest.cut)],
    ["refused", say.refusedByServer, countsOf(latest.refused)],
  ];
  return (
    <dl class="figures" data-part="figures">
      {figures.map(([name, label, value]) => (
        <div key={name} data-figure={name}>
          <dt>{label}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Charts({ samples, say }: { readonly samples: readonly Status[]; readonly say: Words }) {
  const times = samples.map(({ time }) => Date.parse(time) / 1000);
  const short = (value: number): string =>
    value >= 10_000 ? `${(value / 1000).toFixed(0)}k` : `${+value.toFixed(1)}`;
  const charts = [
    {
      title: say.chartConnections,
      show: short,
      curves: [
        { label: say.stripConnections, values: samples.map(({ connections }) => sumOf(connections)) },
        { label: say.stripSubscribers, values: samples.map(subscribersOf) },
      ],
    },
    {
      title: say.chartMessages,
      show: short,
      curves: [
        { label: say.published, values: rates(samples, ({ publishedMessages }) => publishedMessages) },
        { label: say.delivered, values: rates(samples, ({ deliveredMessages }) => deliveredMessages) },
        { label: say.receivedFrames, values: rates(samples, ({ receivedMessages }) => receivedMessages) },
      ],
    },
    {
      title: say.chartMemory,
      show: bytes,
      curves: [
        { label: say.memory, values: samples.map(({ memoryBytes }) => memoryBytes) },
        { label: say.unsent, values: samples.map(({ bufferedBytes }) => bufferedBytes) },
      ],
    },
    {
      title: say.chartDelay,
      show: (value: number) => `${+value.toFixed(1)} ms`,
      curves: [
        {
          label: say.delay,
          values: samples.map(({ eventLoopDelaySeconds }) => eventLoopDelaySeconds * 1000),
        },
      ],
    },
  ];
  return (
    <div class="charts">
      {charts.map(({ title, show, curves }) => (
        <figure key={title}>
          <figcaption>
            {title}
            <Legend labels={curves.map(({ label }) => label)} />
          </figcaption>
          <Chart label={title} times={times} curves={curves} show={show} />
        </figure>
      ))}
    </div>
  );
}

function Legend({ labels }: { readonly labels: readonly string[] }) {
  if (labels.length < 2) return null;
  return (
    <span class="legend">
      {labels.map((label, index) => (
        <span key={label}>
          <span class="key" data-curve={index} />
          {label}
        </span>
      ))}
    </span>
  );
}

function countsOf(counts: Readonly<Record<string, number>>): string {
  const some = Object.entries(counts).filter(([, count]) => count > 0);
  return some.map(([name, count]) => `${name} ${count}`).join(", ") || "0";
}

function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${+(count / 1024 ** unit).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}
