/** The head of the page: its name, the live strip, the documentation, and the choices that outlive a reload. */
import { nextToPage } from "../ground/address.ts";
import { type Theme, theme } from "../ground/settings.ts";
import { language, words } from "../ground/words.ts";
import type { Latency } from "../latency/latency.ts";
import type { ServerStatus } from "../server/status.ts";
import { Strip } from "./strip.tsx";
import { Token } from "./token.tsx";

interface HeadProps {
  readonly latency: Latency;
  readonly status: ServerStatus;
  /** The token is another one from now on. */
  readonly onToken: () => void;
}

const themes: readonly Theme[] = ["system", "light", "dark"];

export function Head({ latency, status, onToken }: HeadProps) {
  const say = words.value;
  return (
    <header class="masthead">
      <img class="mark" src="icon.svg" alt="" width="36" height="36" />
      <div class="name">
        <h1>Longwire</h1>
        <p>{say.tagline}</p>
      </div>
      <Strip latency={latency} status={status} />
      <fieldset class="choices" aria-label={say.settings}>
        <a class="button" data-part="docs" href={nextToPage("docs").href} target="_blank" rel="noreferrer">
          {say.docs}
        </a>
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
    </header>
  );
}
