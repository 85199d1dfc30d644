/** The live strip: what the server does now, the round trip to it, and its heartbeat. */

import { showMilliseconds } from "../ground/times.ts";
import { words } from "../ground/words.ts";
import type { Latency } from "../latency/latency.ts";
import { rates, type ServerStatus, subscribersOf, sumOf } from "../server/status.ts";

/** Round trips in the small curve: one a second. */
const shownTicks = 60;

interface StripProps {
  readonly latency: Latency;
  readonly status: ServerStatus;
}

/** While the server is away there are no numbers: the last ones are not true any more. */
export function Strip({ latency, status }: StripProps) {
  const say = words.value;
  const isOpen = latency.own.state.value.name === "open";
  const samples = isOpen ? status.samples.value : [];
  const latest = samples.at(-1);
  const last = isOpen ? latency.own.last.value : undefined;
  const messages = rates(
    samples.slice(-2),
    ({ deliveredMessages, publishedMessages, receivedMessages }) =>
      Math.max(receivedMessages, publishedMessages) + deliveredMessages,
  ).at(-1);
  const whole = (value: number | undefined | null): string =>
    value === undefined || value === null ? "–" : Math.round(value).toLocaleString(say.tag);
  const values = latency.tick.value >= 0 ? latency.own.values.slice(-shownTicks) : [];
  const longest = Math.max(0, ...values.map((value) => value ?? 0));
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
          <span data-part="ownRoundTrip">{last === undefined ? "–" : showMilliseconds(last)}</span>
        </dd>
      </div>
      <div class="trend" title={say.roundTripMeaning}>
        <dt>{say.lastMinute(showMilliseconds(longest))}</dt>
        <dd>
          <Sparkline values={values} longest={longest} />
        </dd>
      </div>
    </dl>
  );
}

interface SparklineProps {
  readonly values: readonly (number | null)[];
  readonly longest: number;
}

function Sparkline({ values, longest }: SparklineProps) {
  const points = values.flatMap((value, index) =>
    value === null
      ? []
      : [
          `${((index + shownTicks - values.length) / (shownTicks - 1)) * 100},${23 - (value / Math.max(1, longest)) * 21}`,
        ],
  );
  return (
    <svg class="sparkline" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(" ")} fill="none" />
    </svg>
  );
}
