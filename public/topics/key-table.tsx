/** The keys beside the log: what each of them is now. */
import { clock } from "../ground/times.ts";
import { words } from "../ground/words.ts";
import { rowText } from "../log/log.tsx";
import type { LogStore } from "../log/store.ts";
import { type Keys, keysMax } from "./keys.ts";

interface KeyTableProps {
  readonly keys: Keys;
  /** Its version rises with each event. */
  readonly log: LogStore;
}

export function KeyTable({ keys, log }: KeyTableProps) {
  const say = words.value;
  if (log.version.value < 0 || keys.rows.size === 0) return null;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and nothing in it takes the focus.
    <section class="keys" data-part="keys" aria-label={say.keys} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {[say.key, say.value, say.changed].map((name) => (
              <th scope="col" key={name}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {Array.from(keys.rows, ([name, { topic, attributes, data, time }]) => (
            <tr key={name}>
              <th scope="row">
                {topic !== undefined && <span class="label">{topic}</span>} {attributes?.partitionkey}
              </th>
              <td>{rowText(data)}</td>
              <td>
                <time dateTime={new Date(time).toISOString()}>{clock(time)}</time>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {keys.rows.size === keysMax && <p class="guide">{say.keysFull(keysMax)}</p>}
    </section>
  );
}
