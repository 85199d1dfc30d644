/** The whole of one entry: its text, formatted if it is JSON, its bytes, its id and its attributes. */
import { useSignal } from "@preact/signals";
import { nextToPage } from "../ground/address.ts";
import { saveFile } from "../ground/files.ts";
import { words } from "../ground/words.ts";
import { type Entry, hexRows } from "./entry.ts";

/** The layout of more would block the page. The copy and the file have everything. */
const shownCharactersMax = 20_000;
const shownBytesMax = 4096;

interface DetailProps {
  readonly entry: Entry;
  readonly onClose: () => void;
  readonly onResend: ((entry: Entry) => void) | undefined;
}

export function Detail({ entry, onClose, onResend }: DetailProps) {
  const say = words.value;
  const isCopied = useSignal(false);
  const { data, kind } = entry;
  const isMessage = kind === "sent" || kind === "received";
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(typeof data === "string" ? data : hexRows(new Uint8Array(data)));
    isCopied.value = true;
  };
  return (
    <section class="detail" data-part="detail" aria-label={say.detail}>
      <div class="bar">
        <dl>
          {facts(entry).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        <div class="actions">
          <button type="button" class="quiet" data-part="copy" onClick={copy}>
            {isCopied.value ? say.copied : say.copy}
          </button>
          {typeof data !== "string" && (
            <button
              type="button"
              class="quiet"
              data-part="download"
              onClick={() => saveFile("message.bin", "application/octet-stream", [data])}
            >
              {say.download}
            </button>
          )}
          {isMessage && onResend && (
            <button type="button" class="quiet" data-part="resend" onClick={() => onResend(entry)}>
              {say.sendAgain}
            </button>
          )}
          <button type="button" class="quiet" data-part="closeDetail" onClick={onClose}>
            {say.close}
          </button>
        </div>
      </div>
      {kind === "gap" && (
        <p class="help">
          {say.gapHelp}{" "}
          <a href={nextToPage("docs").href} target="_blank" rel="noreferrer">
            {say.protocol}
          </a>
        </p>
      )}
      <pre class={typeof data === "string" ? "" : "bytes"} data-part="whole">
        {wholeText(data)}
      </pre>
    </section>
  );
}

function facts({
  time,
  isReplayed,
  id,
  topic,
  type,
  contentType,
  attributes = {},
}: Entry): [string, string][] {
  const say = words.value;
  const rows: [string, string | undefined][] = [
    [isReplayed ? say.publisherTime : say.time, new Date(time).toISOString()],
    ["id", id],
    [say.topic, topic],
    ["type", type],
    ["Content-Type", contentType],
    ...Object.entries(attributes),
  ];
  return rows.filter((row): row is [string, string] => row[1] !== undefined);
}

function wholeText(data: Entry["data"]): string {
  if (typeof data !== "string")
    return hexRows(new Uint8Array(data, 0, Math.min(data.byteLength, shownBytesMax)));
  const text = formatted(data);
  if (text.length <= shownCharactersMax) return text;
  return `${text.slice(0, shownCharactersMax)}… ${words.value.moreCharacters(text.length - shownCharactersMax)}`;
}

/** JSON with its numbers as they were sent: 1.0 and 12345678901234567890 are not what a double prints. */
export function formatted(text: string): string {
  if (!/^\s*[[{]/.test(text) || text.length > shownCharactersMax) return text;
  try {
    return JSON.stringify(JSON.parse(text, keepNumber), undefined, 2);
  } catch {
    return text; // Not JSON.
  }
}

/** Not yet in TypeScript's types: ECMAScript proposal "JSON.parse source text access". */
const { rawJSON } = JSON as JSON & { rawJSON?(text: string): object };

function keepNumber(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === "number" && context?.source !== undefined && rawJSON
    ? rawJSON(context.source)
    : value;
}
