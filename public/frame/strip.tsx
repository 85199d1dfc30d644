/** The live strip: what the server does now, the round trip to it, and its heartbeat. */
import type { Latency } from "../latency/latency.ts";
import { showMilliseconds } from "../log/entry.ts";
import { rates, type ServerStatus, subscribersOf, sumOf } from "../server/status.ts";
import { words } from "./words.ts";

/** Round trips in the small curve. */
const shownTicks = 60;

interface StripProps {
  readonly latency: Latency;
  readonly status: ServerStatus;
}

export function Strip({ latency, status }: StripProps) {
  const say = words.value;
  const samples = status.samples.value;
  const latest = samples.at(-1);
  const isOpen = latency.own.state.value.name === "open";
  const last = latency.own.last.value;
  const messages = rates(
    samples.slice(-2),
    ({ deliveredMessages, publishedMessages, receivedMessages }) =>
      Math.max(receivedMessages, publishedMessages) + deliveredMessages,
  ).at(-1);
  const whole = (value: number | undefined | null): string =>
    value === undefined || value === null ? "–" : Math.round(value).toLocaleString(say.tag);
  return (
    <dl class="strip" data-part="strip">
      <div>
        <dt>{say.stripConnections}</dt>
        <dd>{whole(latest && sumOf(latest.connections))}</dd>
      </div>
      <div>
        <dt>{say.stripMessages}</dt>
        <dd>{whole(messages)}</dd>
      </div>
      <div>
        <dt>{say.stripSubscribers}</dt>
        <dd>{whole(latest && subscribersOf(latest))}</dd>
      </div>
      <div class="beat">
        <dt>{say.roundTrip}</dt>
        <dd>
          <span key={latency.own.beats.value} class={isOpen ? "pulse" : "pulse still"} aria-hidden="true" />
          <span data-part="ownRoundTrip">{isOpen && last !== undefined ? showMilliseconds(last) : "–"}</span>
          <Sparkline values={latency.tick.value >= 0 ? latency.own.values.slice(-shownTicks) : []} />
        </dd>
      </div>
    </dl>
  );
}

function Sparkline({ values }: { readonly values: readonly (number | null)[] }) {
  const max = Math.max(1, ...values.map((value) => value ?? 0));
  const points = values.flatMap((value, index) =>
    value === null
      ? []
      : [`${((index + shownTicks - values.length) / (shownTicks - 1)) * 100},${23 - (value / max) * 21}`],
  );
  return (
    <svg class="sparkline" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(" ")} fill="none" />
    </svg>
  );
}
