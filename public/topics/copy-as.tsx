/** What is on the screen as curl, JavaScript and Python, to copy. */
import { useSignal } from "@preact/signals";
import { asSocketUrl } from "../ground/address.ts";
import { isOneOf, stored, token } from "../ground/settings.ts";
import { showWhole } from "../ground/show-whole.ts";
import { words } from "../ground/words.ts";
import type { LineState } from "../line/line.ts";
import { since, topicNames, topicsText } from "./choice.ts";
import { type Dialect, dialects, publishCode, type Scene, subscribeCode } from "./commands.ts";
import { attributeText, attributeType, draft, ends, isJson, readAttributes, target } from "./draft.ts";
import { topicsUrl } from "./requests.ts";
import { faultOfTopicName } from "./topic-name.ts";

const dialect = stored<Dialect>("dialect", "curl", isOneOf(...dialects));

interface CopyAsProps {
  /** By topic, the last id that was received. */
  readonly cursor: ReadonlyMap<string, string>;
  readonly state: LineState;
}

export function CopyAs({ cursor, state }: CopyAsProps) {
  const say = words.value;
  const topics = topicNames(topicsText.value);
  const targets = target.value.trim() === "" ? topics : topicNames(target.value);
  if ([...topics, ...targets].some((topic) => faultOfTopicName(topic) !== undefined)) return null;
  const subscribing = sceneOf(topics, say.sampleText);
  const isAway = state.name === "waiting" || state.name === "closed";
  const ids = topics.map((topic) => cursor.get(topic));
  const continues = isAway && ids.every((id) => id !== undefined) ? ids.join(",") : since.value.trim();
  return (
    <details class="shell" data-part="copyAs" onToggle={showWhole}>
      <summary>{say.copyAs}</summary>
      <fieldset class="dialects">
        <legend class="unseen">{say.copyAs}</legend>
        {dialects.map((name) => (
          <label key={name}>
            <input
              type="radio"
              name="dialect"
              value={name}
              checked={dialect.value === name}
              onChange={() => (dialect.value = name)}
            />
            <span>{say.dialects[name]}</span>
          </label>
        ))}
      </fieldset>
      <Code
        part="subscribeCode"
        label={say.subscribe}
        text={subscribeCode(dialect.value, { ...subscribing, since: continues })}
      />
      <Code
        part="publishCode"
        label={say.publish}
        text={publishCode(dialect.value, sceneOf(targets, say.sampleText))}
      />
    </details>
  );
}

function sceneOf(topics: readonly string[], sample: string): Scene {
  const http = topicsUrl(topics);
  const type = attributeType.value.trim();
  return {
    topics,
    http,
    socket: asSocketUrl(http),
    since: "",
    text: draft.value || (isJson.value ? JSON.stringify(sample) : sample),
    isJson: isJson.value,
    attributes: { ...(type === "" ? {} : { type }), ...readAttributes(attributeText.value) },
    ends: ends.value,
    hasToken: token.value !== "",
  };
}

interface CodeProps {
  readonly part: string;
  readonly label: string;
  readonly text: string;
}

function Code({ part, label, text }: CodeProps) {
  const say = words.value;
  const copied = useSignal("");
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(text);
    copied.value = text;
  };
  return (
    <div class="code">
      <h3>{label}</h3>
      <pre>
        <code data-part={part}>{text}</code>
      </pre>
      <button type="button" class="quiet" onClick={copy} aria-label={`${say.copy}: ${label}`}>
        {copied.value === text ? say.copied : say.copy}
      </button>
    </div>
  );
}
