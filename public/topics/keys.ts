/** The last message of each key, as the events of the log tell it. */
import type { Entry } from "../log/entry.ts";

/** Each is a row in the document. */
export const keysMax = 500;

export class Keys {
  /** By topic and key: a topic has no space in its name. */
  #rows = new Map<string, Entry>();
  /** By topic: what a snapshot brings after a gap, until it is whole. */
  readonly #next = new Map<string, Map<string, Entry>>();

  /** In the order in which the keys came, at most `keysMax` of them. */
  get rows(): ReadonlyMap<string, Entry> {
    return this.#rows;
  }

  restart(): void {
    this.#rows.clear();
    this.#next.clear();
  }

  /** @param entry undefined where the key was removed */
  changed(topic: string, key: string, entry: Entry | undefined): void {
    const rows = this.#next.get(topic) ?? this.#rows;
    const name = `${topic} ${key}`;
    if (!entry) rows.delete(name);
    else if (rows.has(name) || rows.size < keysMax) rows.set(name, entry);
  }

  /** A snapshot of the topic follows. */
  gap(topic: string): void {
    this.#next.set(topic, new Map());
  }

  /** The snapshot is whole: its keys take the place of those that were known before. */
  live(topic: string): void {
    const next = this.#next.get(topic);
    if (!next) return;
    this.#next.delete(topic);
    const others = [...this.#rows].filter(([name]) => !name.startsWith(`${topic} `));
    this.#rows = new Map([...others, ...next].slice(0, keysMax));
  }
}
