/** A log on the page. Only the rows in view are in the document, so 20,000 entries cost as much as 30. */
import { useSignal } from "@preact/signals";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import { clock, showMilliseconds } from "../ground/times.ts";
import { words } from "../ground/words.ts";
import { Announcer } from "./announcer.tsx";
import { Detail } from "./detail.tsx";
import { type Entry, hex, offsetOf } from "./entry.ts";
import type { LogStore } from "./store.ts";
import { LogTools } from "./tools.tsx";

/** Rows above and below those in view, so that scrolling shows no empty place. */
const spareRows = 8;

/** Characters of a row: more cannot be seen, and their layout would take long. */
const rowCharactersMax = 400;
const rowBytesMax = 64;

interface LogProps {
  readonly store: LogStore;
  /** Shown while the log is empty. */
  readonly guide?: preact.ComponentChildren;
  /** Sends the content of an entry again. */
  readonly onResend?: (entry: Entry) => void;
  /** Entries come from topics, and have offsets. */
  readonly hasTopics?: boolean;
}

export function Log({ store, guide, onResend, hasTopics = false }: LogProps) {
  const selected = useSignal<Entry | undefined>(undefined);
  if (store.version.value < 0) return null;
  if (selected.value && store.total === 0) selected.value = undefined;
  return (
    <div class="log" data-part="log" data-topics={hasTopics ? "" : undefined}>
      <Announcer store={store} />
      {store.total === 0 ? (
        <div class="guide">{guide}</div>
      ) : (
        <>
          <LogTools store={store} />
          <Rows store={store} selected={selected.value} onSelect={(entry) => (selected.value = entry)} />
        </>
      )}
      {selected.value && (
        <Detail entry={selected.value} onClose={() => (selected.value = undefined)} onResend={onResend} />
      )}
    </div>
  );
}

interface RowsProps {
  readonly store: LogStore;
  readonly selected: Entry | undefined;
  readonly onSelect: (entry: Entry | undefined) => void;
}

function Rows({ store, selected, onSelect }: RowsProps) {
  const name = useId();
  const { box, top, height, rowHeight, isFollowing, follow, onScroll } = useWindow(store);
  const { shown } = store;
  const first = Math.max(0, Math.floor(top.value / rowHeight.value) - spareRows);
  const last = Math.min(shown.length, Math.ceil((top.value + height.value) / rowHeight.value) + spareRows);
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (event.key === "Escape") onSelect(undefined);
    if (step === undefined || shown.length === 0) return;
    event.preventDefault();
    const from = selected ? shown.indexOf(selected) : shown.length;
    const index = Math.min(shown.length - 1, Math.max(0, from + step));
    onSelect(shown[index]);
    const [above, below] = [index * rowHeight.value, (index + 1) * rowHeight.value];
    const { current } = box;
    if (current && above < current.scrollTop) current.scrollTop = above;
    else if (current && below > current.scrollTop + current.clientHeight)
      current.scrollTop = below - current.clientHeight;
  };
  const hidden = isFollowing.value ? 0 : shown.length - last;
  const selectedIndex = selected ? shown.indexOf(selected) : -1;
  const isInDocument = selectedIndex >= first && selectedIndex < last;
  return (
    <div class="rows">
      <div
        ref={box}
        class="box"
        data-part="rows"
        role="listbox"
        tabIndex={0}
        aria-label={words.value.messages}
        aria-activedescendant={isInDocument ? `${name}-${selectedIndex}` : undefined}
        onScroll={onScroll}
        onKeyDown={onKeyDown}
      >
        <div role="presentation" style={{ height: `${shown.length * rowHeight.value}px` }} />
        <div
          role="presentation"
          class="window"
          style={{ transform: `translateY(${first * rowHeight.value}px)` }}
        >
          {shown.slice(first, last).map((entry, index) => (
            <Row
              key={index}
              id={`${name}-${first + index}`}
              entry={entry}
              isSelected={entry === selected}
              position={first + index + 1}
              count={shown.length}
              onClick={() => onSelect(entry === selected ? undefined : entry)}
            />
          ))}
        </div>
      </div>
      {hidden > 0 && !store.isPaused.value && (
        <button type="button" class="newer" data-part="newer" onClick={follow}>
          {words.value.newer(hidden)}
        </button>
      )}
    </div>
  );
}

/** The part of the log in view. It follows the newest entry until the reader scrolls up. */
function useWindow(store: LogStore) {
  const box = useRef<HTMLDivElement>(null);
  const top = useSignal(0);
  const height = useSignal(600);
  const rowHeight = useSignal(28);
  const isFollowing = useSignal(true);
  const dropped = useRef(0);
  const followedTo = useRef(0);

  const follow = (): void => {
    isFollowing.value = true;
    if (!box.current) return;
    box.current.scrollTop = box.current.scrollHeight;
    followedTo.current = top.value = box.current.scrollTop;
  };
  const onScroll = (): void => {
    if (!box.current) return;
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    // The event comes a frame late, when rows were added below. So only scrolling up ends the following.
    if (scrollHeight - scrollTop - clientHeight < 4) isFollowing.value = true;
    else if (scrollTop < followedTo.current - 1) isFollowing.value = false;
    top.value = scrollTop;
  };
  useEffect(() => {
    const { current } = box;
    if (!current) return;
    const observer = new ResizeObserver(() => {
      height.value = current.clientHeight;
      rowHeight.value = Number.parseFloat(getComputedStyle(current).getPropertyValue("--row")) || 28;
      if (isFollowing.peek()) follow();
    });
    observer.observe(current);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    const gone = store.droppedShown - dropped.current;
    dropped.current = store.droppedShown;
    if (isFollowing.peek()) follow();
    else if (gone > 0 && box.current) box.current.scrollTop -= gone * rowHeight.value;
  }, [store.version.value, rowHeight.value]);
  return { box, top, height, rowHeight, isFollowing, follow, onScroll };
}

interface RowProps {
  readonly id: string;
  readonly entry: Entry;
  readonly isSelected: boolean;
  readonly position: number;
  readonly count: number;
  readonly onClick: () => void;
}

function Row({ id, entry, isSelected, position, count, onClick }: RowProps) {
  const { kinds, replayed } = words.value;
  const { kind, time, data, isReplayed, failure, type, contentType, topic, attributes } = entry;
  const isMessage = kind === "sent" || kind === "received";
  // No tag for what most programs and curl send.
  const isPlain = /^(text\/plain|application\/x-www-form-urlencoded)\b/.test(contentType ?? "");
  const labels = isMessage ? [topic, attributes?.partitionkey, type, isPlain ? undefined : contentType] : [];
  return (
    <div
      id={id}
      class="entry"
      role="option"
      tabIndex={-1}
      aria-selected={isSelected}
      aria-setsize={count}
      aria-posinset={position}
      data-kind={kind}
      data-failed={failure === undefined ? undefined : ""}
      data-binary={typeof data === "string" ? undefined : ""}
      data-empty={data === "" ? "" : undefined}
      onClick={onClick}
      onKeyDown={undefined}
    >
      <time dateTime={new Date(time).toISOString()} title={isReplayed ? replayed : undefined}>
        {clock(time)}
      </time>
      <span class="arrow" aria-hidden="true" />
      <span class="unseen">{`${kinds[kind]}${isReplayed ? `, ${replayed}` : ""}: `}</span>
      {isReplayed && <span class="replayed" aria-hidden="true" />}
      <span class="text">{rowText(data)}</span>
      <span class="labels">
        {labels.map(
          (label, index) =>
            label !== undefined && (
              <span class="label" key={index}>
                {label}
              </span>
            ),
        )}
      </span>
      <span class="measure">{measureOf(entry)}</span>
    </div>
  );
}

export function rowText(data: Entry["data"]): string {
  if (data === "") return words.value.empty;
  if (typeof data === "string") {
    const text = data.slice(0, rowCharactersMax);
    return data.length > rowCharactersMax
      ? `${text}… ${words.value.moreCharacters(data.length - rowCharactersMax)}`
      : text;
  }
  const bytes = new Uint8Array(data);
  return `${words.value.bytes(bytes.length)} ${hex(bytes.subarray(0, rowBytesMax))}${bytes.length > rowBytesMax ? " …" : ""}`;
}

function measureOf({ id, failure, roundTripMilliseconds }: Entry): string {
  if (failure !== undefined) return failure;
  if (id !== undefined) return offsetOf(id);
  return roundTripMilliseconds === undefined ? "" : showMilliseconds(roundTripMilliseconds);
}
