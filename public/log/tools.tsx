/** The bar above a log: counts, search, filter, pause, save, clear. */

import { saveFile } from "../ground/files.ts";
import { words } from "../ground/words.ts";
import { type EntryKind, entryAsJson, entryKinds } from "./entry.ts";
import type { LogStore } from "./store.ts";

export function LogTools({ store }: { readonly store: LogStore }) {
  const say = words.value;
  if (store.version.value < 0) return null;
  const { search, kind, type } = store.filter.value;
  const isPaused = store.isPaused.value;
  const save = (): void =>
    saveFile("longwire.ndjson", "application/x-ndjson", [
      store.kept.map((entry) => `${entryAsJson(entry)}\n`).join(""),
    ]);
  return (
    <fieldset class="tools" aria-label={say.logTools}>
      <p class="counts" data-part="counts">
        {countsOf(store)}
      </p>
      <input
        type="search"
        data-part="search"
        aria-label={say.search}
        placeholder={say.search}
        value={search}
        onInput={({ currentTarget }) => store.setFilter({ search: currentTarget.value })}
      />
      <select
        data-part="kind"
        aria-label={say.filterKind}
        value={kind}
        onChange={({ currentTarget }) => store.setFilter({ kind: currentTarget.value as EntryKind | "all" })}
      >
        <option value="all">{say.everything}</option>
        {entryKinds.map((kind) => (
          <option key={kind} value={kind}>
            {say.kinds[kind]}
          </option>
        ))}
      </select>
      {(store.types.length > 0 || type !== "") && (
        <select
          data-part="type"
          aria-label={say.filterType}
          value={type}
          onChange={({ currentTarget }) => store.setFilter({ type: currentTarget.value })}
        >
          <option value="">{say.everyType}</option>
          {store.types.map((type) => (
            <option key={type} value={type}>
              {type}
            </option>
          ))}
        </select>
      )}
      <button
        type="button"
        class="quiet"
        data-part="pause"
        aria-pressed={isPaused}
        onClick={() => store.setPaused(!isPaused)}
      >
        {isPaused ? say.resume : say.pause}
      </button>
      <button type="button" class="quiet" data-part="save" onClick={save}>
        {say.save}
      </button>
      <button type="button" class="quiet" data-part="clear" onClick={() => store.clear()}>
        {say.clear}
      </button>
    </fieldset>
  );
}

function countsOf(store: LogStore): string {
  const { counts, keptOf } = words.value;
  const text = counts(store.count("received"), store.count("sent"));
  const { length } = store.kept;
  return length < store.total ? `${text}, ${keptOf(length)}` : text;
}
