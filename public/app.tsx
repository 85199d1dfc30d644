/** The frame of the page: its head, and the panels. On a wide screen the topics stay beside the others. */
import { computed, signal } from "@preact/signals";
import { type Theme, theme, type View, view } from "./frame/settings.ts";
import { Strip } from "./frame/strip.tsx";
import { Token } from "./frame/token.tsx";
import { language, words } from "./frame/words.ts";
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

export function App(parts: AppProps) {
  const { topics, line, latency, status } = parts;
  const reconnect = (): void => {
    for (const used of [line.line, topics.subscription.line]) {
      const state = used.state;
      if (state.name !== "closed" || state.ending !== undefined) used.connect();
    }
    latency.own.start();
    status.start();
  };
  return (
    <>
      <header class="masthead">
        <img class="mark" src="icon.svg" alt="" width="36" height="36" />
        <div class="name">
          <h1>Longwire</h1>
          <p>{words.value.tagline}</p>
        </div>
        <Strip latency={latency} status={status} />
        <Choices onToken={reconnect} />
      </header>
      <main>
        {(isWide.value || shownView.value === "topics") && <TopicsPanel topics={topics} />}
        <div class="others">
          <Tabs />
          {shownView.value === "line" && <LinePanel line={line} />}
          {shownView.value === "latency" && <LatencyPanel latency={latency} />}
          {shownView.value === "server" && <ServerPanel status={status} />}
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

const themes: readonly Theme[] = ["system", "light", "dark"];

function Choices({ onToken }: { readonly onToken: () => void }) {
  const say = words.value;
  return (
    <fieldset class="choices" aria-label={say.settings}>
      <Token onChange={onToken} />
      <select
        data-part="language"
        aria-label="Language / 语言"
        value={language.value}
        onChange={({ currentTarget }) => (language.value = currentTarget.value === "zh" ? "zh" : "en")}
      >
        <option value="en">English</option>
        <option value="zh">中文</option>
      </select>
      <select
        data-part="theme"
        aria-label={say.theme}
        value={theme.value}
        onChange={({ currentTarget }) =>
          (theme.value = themes.find((known) => known === currentTarget.value) ?? "system")
        }
      >
        {themes.map((name) => (
          <option key={name} value={name}>
            {say.themes[name]}
          </option>
        ))}
      </select>
    </fieldset>
  );
}
