/** Says the newest entries of a log to screen readers, in which its rows are only a list to walk through. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { words } from "../ground/words.ts";
import type { Entry } from "./entry.ts";
import type { LogStore } from "./store.ts";

/** Shorter, and one sentence would cut off the one before. */
const pauseMilliseconds = 1000;

/** More in one pause are counted, not read out. */
const readOutMax = 3;

const charactersMax = 100;

export function Announcer({ store }: { readonly store: LogStore }) {
  const text = useSignal("");
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const saidCount = useRef(store.total);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    if (store.total < saidCount.current) saidCount.current = 0; // It was cleared.
    if (store.total === saidCount.current || timer.current !== undefined) return;
    timer.current = setTimeout(() => {
      timer.current = undefined;
      text.value = describe(store.kept.slice(saidCount.current - store.total));
      saidCount.current = store.total;
    }, pauseMilliseconds);
  }, [store.version.value]);
  return (
    <p class="unseen" role="status" data-part="announced">
      {text.value}
    </p>
  );
}

/** What was sent is known to the person, and so are the notes: the state of the line is a live region too. */
function describe(entries: readonly Entry[]): string {
  const received = entries.filter(({ kind }) => kind === "received");
  const others = entries.filter(({ kind }) => kind === "complete" || kind === "gap" || kind === "error");
  const { receivedCount, receivedText } = words.peek();
  const messages =
    received.length > readOutMax
      ? [receivedCount(received.length)]
      : received.map(({ data }) =>
          receivedText(typeof data === "string" ? data.slice(0, charactersMax) : ""),
        );
  return [...messages, ...others.slice(-readOutMax).map(({ data }) => String(data))].join(". ");
}
