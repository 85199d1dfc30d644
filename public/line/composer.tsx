/** Writes what is sent on the line: text, JSON, bytes or a file, once or repeatedly. */
import { signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { MessageBox } from "../ground/message-box.tsx";
import { isOneOf, stored } from "../ground/settings.ts";
import { words } from "../ground/words.ts";
import { formatted } from "../log/detail.tsx";
import type { Data } from "../log/entry.ts";
import type { TestLine } from "./test-line.ts";

type Kind = "text" | "json" | "hex";

const kinds: readonly Kind[] = ["text", "json", "hex"];
const kind = stored<Kind>("line.kind", "text", isOneOf(...kinds));
const draft = signal("");
const everyMilliseconds = signal(1000);

/** Faster would only measure the timers of the browser. */
const everyMillisecondsMin = 1;

export function LineComposer({ line }: { readonly line: TestLine }) {
  const say = words.value;
  const box = useRef<HTMLTextAreaElement>(null);
  const fault = useSignal("");
  const isOpen = line.state.value.name === "open";
  const send = (): void => {
    const data = read(draft.value, kind.value);
    fault.value = data === undefined ? say.contentFaults[kind.value] : "";
    if (data !== undefined && line.send(data)) draft.value = "";
    box.current?.focus();
  };
  return (
    <form
      class="composer"
      data-part="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div class="writing">
        <MessageBox box={box} id="line-message" text={draft} onSend={send} />
        <button type="submit" data-part="send" disabled={!isOpen}>
          {say.send}
        </button>
      </div>
      <div class="sending">
        <select
          data-part="kindOfContent"
          aria-label={say.contentLabel}
          value={kind.value}
          onChange={({ currentTarget }) =>
            (kind.value = kinds.find((known) => known === currentTarget.value) ?? "text")
          }
        >
          {kinds.map((kind) => (
            <option key={kind} value={kind}>
              {say.contents[kind]}
            </option>
          ))}
        </select>
        {kind.value === "json" && (
          <button
            type="button"
            class="quiet"
            data-part="format"
            onClick={() => (draft.value = formatted(draft.value))}
          >
            {say.format}
          </button>
        )}
        <FileButton onFile={(data) => line.send(data)} isOpen={isOpen} />
        <Repeat line={line} onFault={(text) => (fault.value = text)} />
        <p class="fault" data-part="contentFault" role="alert">
          {fault.value}
        </p>
      </div>
    </form>
  );
}

interface FileButtonProps {
  readonly onFile: (data: ArrayBuffer) => void;
  readonly isOpen: boolean;
}

function FileButton({ onFile, isOpen }: FileButtonProps) {
  const read = async (input: HTMLInputElement): Promise<void> => {
    const [file] = input.files ?? [];
    if (file) onFile(await file.arrayBuffer());
    input.value = ""; // The same file can be chosen again.
  };
  return (
    <label class="file">
      <span>{words.value.sendFile}</span>
      <input
        type="file"
        class="unseen"
        data-part="file"
        disabled={!isOpen}
        onChange={({ currentTarget }) => void read(currentTarget)}
      />
    </label>
  );
}

interface RepeatProps {
  readonly line: TestLine;
  readonly onFault: (text: string) => void;
}

/** Sends what is written again and again, until the line is not open or the button is pressed. */
function Repeat({ line, onFault }: RepeatProps) {
  const say = words.value;
  const isRunning = useSignal(false);
  const isOpen = line.state.value.name === "open";
  const milliseconds = everyMilliseconds.value;
  useEffect(() => {
    if (!isRunning.value) return;
    if (!isOpen) {
      isRunning.value = false;
      return;
    }
    const timer = setInterval(() => {
      const data = read(draft.peek(), kind.peek());
      if (data !== undefined) line.send(data);
    }, milliseconds);
    return () => clearInterval(timer);
  }, [isRunning.value, isOpen, milliseconds, line]);
  const toggle = (): void => {
    const isSendable = read(draft.peek(), kind.peek()) !== undefined;
    onFault(isSendable ? "" : say.contentFaults[kind.peek()]);
    isRunning.value = isSendable && !isRunning.value;
  };
  return (
    <span class="repeat">
      <label>
        <span>{say.every}</span>
        <input
          type="number"
          data-part="every"
          min={everyMillisecondsMin}
          max={60_000}
          value={milliseconds}
          onInput={({ currentTarget: { valueAsNumber } }) => {
            if (valueAsNumber >= everyMillisecondsMin) everyMilliseconds.value = valueAsNumber;
          }}
        />
        <span>ms</span>
      </label>
      <button
        type="button"
        data-part="repeat"
        aria-pressed={isRunning.value}
        disabled={!isOpen}
        onClick={toggle}
      >
        {isRunning.value ? say.stop : say.repeat}
      </button>
    </span>
  );
}

/** @returns undefined for what is not of this kind */
function read(text: string, kind: Kind): Data | undefined {
  if (kind === "text") return text;
  if (kind === "hex") {
    const digits = text.replaceAll(/\s|0x|,/g, "");
    if (!/^([0-9a-f]{2})*$/i.test(digits)) return undefined;
    return Uint8Array.from(digits.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)).buffer;
  }
  try {
    JSON.parse(text);
    return text;
  } catch {
    return undefined; // Not JSON.
  }
}
