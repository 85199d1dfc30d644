/** The entries of a log: counted truly, kept up to a bound, filtered, and announced to the page once per frame. */
import { signal } from "@preact/signals";
import { type Data, type Entry, type EntryKind, entryKinds } from "./entry.ts";

/** Bounds the memory of a tab that stays open for a week. */
const entriesMax = 20_000;

/** UTF-16 units and bytes of all kept entries. */
const sizeMax = 32 * 1024 * 1024;

/** So many are dropped together, because moving the others takes as long as dropping one. */
const dropCount = 1_000;

/** With more entries in a frame nobody reads each of them: the page shows the state every 100 ms, and stays responsive. */
const floodCount = 20;
const floodMilliseconds = 100;

/** Characters of a message that a search looks at. */
const searchedCharactersMax = 10_000;

export interface LogFilter {
  /** Found in the text, the topic, the type and the id, whatever its case; empty for all. */
  readonly search: string;
  readonly kind: EntryKind | "all";
  /** A type of messages; empty for all. */
  readonly type: string;
}

const noFilter: LogFilter = { search: "", kind: "all", type: "" };

export class LogStore {
  /** Rises after a change, at most once per frame. */
  readonly version = signal(0);
  readonly filter = signal<LogFilter>(noFilter);
  /** Whether the shown entries stay as they are while others are added. */
  readonly isPaused = signal(false);
  readonly #counts = new Map<EntryKind, number>();
  readonly #types = new Set<string>();
  #entries: Entry[] = [];
  #size = 0;
  #shown: Entry[] = [];
  /** Entries taken from the start of the shown ones, for a reader whose place must not move. */
  #droppedShown = 0;
  /** While paused: the entries shown then. */
  #frozen: readonly Entry[] | undefined;
  #isAnnounced = false;
  #announcedMilliseconds = 0;
  /** Since the last announcement. */
  #addedCount = 0;

  /** The entries that the filter lets through, the newest last. */
  get shown(): readonly Entry[] {
    return this.#frozen ?? this.#shown;
  }

  get droppedShown(): number {
    return this.#frozen ? 0 : this.#droppedShown;
  }

  get kept(): readonly Entry[] {
    return this.#entries;
  }

  /** The types of messages seen, at most 50. */
  get types(): readonly string[] {
    return [...this.#types];
  }

  /** Since the last `clear`, those included that are no longer kept. */
  count(...kinds: EntryKind[]): number {
    return kinds.reduce((sum, kind) => sum + (this.#counts.get(kind) ?? 0), 0);
  }

  get total(): number {
    return this.count(...entryKinds);
  }

  add(entry: Entry): Entry {
    this.#addedCount++;
    this.#entries.push(entry);
    this.#size += sizeOf(entry.data);
    this.#counts.set(entry.kind, this.count(entry.kind) + 1);
    if (entry.type && this.#types.size < 50) this.#types.add(entry.type);
    if (matches(entry, this.filter.peek())) this.#shown.push(entry);
    if (this.#entries.length > entriesMax + dropCount || this.#size > sizeMax) this.#drop();
    this.changed();
    return entry;
  }

  note(text: string, kind: Exclude<EntryKind, "sent" | "received"> = "note"): void {
    this.add({ kind, time: Date.now(), data: text });
  }

  setFilter(change: Partial<LogFilter>): void {
    const filter = { ...this.filter.peek(), ...change };
    this.filter.value = filter;
    this.#shown = this.#entries.filter((entry) => matches(entry, filter));
    if (this.#frozen) this.#frozen = [...this.#shown];
    this.changed();
  }

  setPaused(isPaused: boolean): void {
    this.#frozen = isPaused ? [...this.#shown] : undefined;
    this.isPaused.value = isPaused;
    this.changed();
  }

  clear(): void {
    this.#entries = [];
    this.#shown = [];
    this.#size = this.#droppedShown = 0;
    this.#counts.clear();
    this.#types.clear();
    if (this.#frozen) this.#frozen = [];
    this.changed();
  }

  /** To be called after an entry was changed. A hidden tab has no frames, and then needs no announcement either. */
  changed(): void {
    if (this.#isAnnounced) return;
    this.#isAnnounced = true;
    const announce = (nowMilliseconds: number): void => {
      const isFlood = this.#addedCount > floodCount;
      if (isFlood && nowMilliseconds - this.#announcedMilliseconds < floodMilliseconds) {
        requestAnimationFrame(announce);
        return;
      }
      this.#isAnnounced = false;
      this.#announcedMilliseconds = nowMilliseconds;
      this.#addedCount = 0;
      this.version.value++;
    };
    requestAnimationFrame(announce);
  }

  #drop(): void {
    const filter = this.filter.peek();
    let shown = 0;
    let count = 0;
    while (count < this.#entries.length - 1 && (count < dropCount || this.#size > sizeMax)) {
      const entry = this.#entries[count++];
      if (!entry) break;
      this.#size -= sizeOf(entry.data);
      if (matches(entry, filter)) shown++;
    }
    this.#entries.splice(0, count);
    this.#shown.splice(0, shown);
    this.#droppedShown += shown;
  }
}

function sizeOf(data: Data): number {
  return typeof data === "string" ? data.length : data.byteLength;
}

function matches(entry: Entry, { search, kind, type }: LogFilter): boolean {
  if (kind !== "all" && entry.kind !== kind) return false;
  if (type !== "" && entry.type !== type) return false;
  if (search === "") return true;
  const wanted = search.toLowerCase();
  const { data, topic = "", id = "", type: own = "" } = entry;
  const text = typeof data === "string" ? data.slice(0, searchedCharactersMax) : "";
  return [text, topic, own, id].some((part) => part.toLowerCase().includes(wanted));
}
