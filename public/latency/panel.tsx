/** The latency panel: which of several servers is nearest to the person. */
import { useSignal } from "@preact/signals";
import { Chart, curveColor } from "../ground/chart.tsx";
import { showMilliseconds } from "../ground/times.ts";
import { words } from "../ground/words.ts";
import type { AddressFault, Latency } from "./latency.ts";
import type { Probe } from "./probe.ts";
import { type Statistics, statisticsOf } from "./statistics.ts";

export function LatencyPanel({ latency }: { readonly latency: Latency }) {
  const say = words.value;
  if (latency.tick.value < 0) return null;
  const probes = latency.probes.value.map((probe) => ({ probe, statistics: statisticsOf(probe.values) }));
  const nearest = nearestOf(probes);
  return (
    <section class="panel" id="latency" aria-labelledby="latency-title">
      <header class="heading">
        <h2 id="latency-title">{say.latencyTitle}</h2>
        <p>{say.latencyMeaning}</p>
      </header>
      <AddServer latency={latency} />
      <Chart
        label={say.latencyChart}
        times={latency.times}
        curves={probes.map(({ probe }) => ({ label: probe.url.href, values: probe.values }))}
        show={showMilliseconds}
      />
      <table data-part="servers">
        <thead>
          <tr>
            <th scope="col">{say.server}</th>
            {["p50", "p95", "p99", say.max, say.lost].map((name) => (
              <th scope="col" key={name} class="number">
                {name}
              </th>
            ))}
            <th scope="col">
              <span class="unseen">{say.remove}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {probes.map(({ probe, statistics }, index) => (
            <Server
              key={probe.url.href}
              probe={probe}
              statistics={statistics}
              color={curveColor(index)}
              isNearest={probe === nearest}
              onRemove={probe === latency.own ? undefined : () => latency.remove(probe)}
            />
          ))}
        </tbody>
      </table>
      <p class="guide">{say.latencyGuide}</p>
    </section>
  );
}

function AddServer({ latency }: { readonly latency: Latency }) {
  const say = words.value;
  const text = useSignal("");
  const fault = useSignal<AddressFault | undefined>(undefined);
  const add = (event: Event): void => {
    event.preventDefault();
    fault.value = undefined;
    // A list of addresses can be pasted, of which the field keeps those that were not taken.
    const left = text.value
      .trim()
      .split(/[\s,]+/)
      .filter((address) => {
        const found = latency.add(address);
        fault.value ??= found;
        return found !== undefined;
      });
    text.value = left.join(" ");
  };
  return (
    <form class="topic" noValidate onSubmit={add}>
      <label class="wide">
        <span>{say.addServer}</span>
        <input
          data-part="address"
          value={text.value}
          placeholder="wss://eu.example.com/ping wss://asia.example.com/ping"
          onInput={({ currentTarget }) => (text.value = currentTarget.value)}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          inputMode="url"
          aria-invalid={fault.value !== undefined}
          aria-describedby="latency-fault"
        />
      </label>
      <button type="submit" data-part="add">
        {say.add}
      </button>
      {latency.probes.value.length > 1 && (
        <button
          type="button"
          data-part="measure"
          aria-pressed={latency.isMeasuring.value}
          onClick={() => (latency.isMeasuring.value ? latency.pause() : latency.measure())}
        >
          {latency.isMeasuring.value ? say.pause : say.measure}
        </button>
      )}
      <p class="fault" id="latency-fault" data-part="addressFault" role="alert">
        {fault.value && say.addressFaults[fault.value]}
      </p>
    </form>
  );
}

interface ServerProps {
  readonly probe: Probe;
  /** A new object each second: with the same props a row would not be written again. */
  readonly statistics: Statistics | undefined;
  readonly color: string;
  readonly isNearest: boolean;
  readonly onRemove: (() => void) | undefined;
}

function Server({ probe, statistics, color, isNearest, onRemove }: ServerProps) {
  const say = words.value;
  const show = (value: number | undefined): string => (value === undefined ? "–" : showMilliseconds(value));
  const { name } = probe.state.value;
  return (
    <tr data-nearest={isNearest ? "" : undefined}>
      <th scope="row">
        <span class="key" style={{ background: color }} />
        <span class="address">{onRemove ? probe.url.host + probe.url.pathname : say.thisServer}</span>
        {isNearest && <span class="label">{say.nearest}</span>}
        {name !== "open" && <span class="label">{say.states[name]}</span>}
      </th>
      <td>{show(statistics?.p50)}</td>
      <td>{show(statistics?.p95)}</td>
      <td>{show(statistics?.p99)}</td>
      <td>{show(statistics?.max)}</td>
      <td>
        {probe.sent === 0 ? "–" : `${((100 * probe.lost) / probe.sent).toFixed(probe.lost === 0 ? 0 : 1)} %`}
      </td>
      <td>
        {onRemove && (
          <button
            type="button"
            class="quiet"
            onClick={onRemove}
            aria-label={`${say.remove} ${probe.url.host}`}
          >
            ×
          </button>
        )}
      </td>
    </tr>
  );
}

/** By the median, which one late answer does not move. Alone, no server is nearest. */
function nearestOf(
  probes: readonly { readonly probe: Probe; readonly statistics: Statistics | undefined }[],
): Probe | undefined {
  const measured = probes.flatMap(({ probe, statistics }) =>
    statistics ? [{ probe, p50: statistics.p50 }] : [],
  );
  measured.sort((one, other) => one.p50 - other.p50);
  return measured.length > 1 ? measured[0]?.probe : undefined;
}
