/** The page: its head, and the panels. On a wide screen the topics stay beside the others. */
import { computed, signal } from "@preact/signals";
import { type View, view } from "./ground/settings.ts";
import { words } from "./ground/words.ts";
import { Head } from "./head/head.tsx";
import type { Latency } from "./latency/latency.ts";
import { LatencyPanel } from "./latency/panel.tsx";
import { LinePanel } from "./line/panel.tsx";
import type { TestLine } from "./line/test-line.ts";
import { ServerPanel } from "./server/panel.tsx";
import type { ServerStatus } from "./server/status.ts";
import { type Topics, TopicsPanel } from "./topics/panel.tsx";

interface AppProps {
  readonly topics: Topics;
  readonly line: TestLine;
  readonly latency: Latency;
  readonly status: ServerStatus;
}

const views: readonly View[] = ["topics", "line", "latency", "server"];

/** Room for two panels; page.css has the same width. */
const wide = matchMedia("(min-width: 68rem)");
const isWide = signal(wide.matches);
wide.addEventListener("change", () => (isWide.value = wide.matches));

/** Beside the topics, or alone. */
const shownView = computed<View>(() => (isWide.value && view.value === "topics" ? "line" : view.value));

export function App({ topics, line, latency, status }: AppProps) {
  const reconnect = (): void => {
    for (const [used, { value }] of [
      [line.line, line.state],
      [topics.subscription, topics.subscription.state],
    ] as const)
      if (value.name !== "closed" || value.ending !== undefined) used.connect();
    latency.own.start();
    status.start();
  };
  const follow = (topic: string): void => {
    topics.follow(topic);
    view.value = "topics";
  };
  const isAway = latency.own.state.value.name !== "open";
  return (
    <>
      <Head latency={latency} status={status} onToken={reconnect} />
      <main>
        {(isWide.value || shownView.value === "topics") && <TopicsPanel topics={topics} status={status} />}
        <div class="others">
          <Tabs />
          {shownView.value === "line" && <LinePanel line={line} />}
          {shownView.value === "latency" && <LatencyPanel latency={latency} />}
          {shownView.value === "server" && <ServerPanel status={status} isAway={isAway} onFollow={follow} />}
        </div>
      </main>
    </>
  );
}

/** On a wide screen there is none for the topics, because they are always in view. */
function Tabs() {
  const say = words.value;
  return (
    <nav class="tabs" aria-label={say.panels}>
      {views
        .filter((name) => name !== "topics" || !isWide.value)
        .map((name) => (
          <button
            type="button"
            key={name}
            data-tab={name}
            aria-current={shownView.value === name ? "page" : undefined}
            onClick={() => (view.value = name)}
          >
            {say.views[name]}
          </button>
        ))}
    </nav>
  );
}
