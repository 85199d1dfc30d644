/** The text field of a message. With a mouse Ctrl+Enter and Cmd+Enter send it, on a phone Enter does. */
import type { Signal } from "@preact/signals";
import type { RefObject } from "preact";
import { words } from "./words.ts";

interface MessageBoxProps {
  readonly box: RefObject<HTMLTextAreaElement | null>;
  readonly id: string;
  readonly text: Signal<string>;
  readonly onSend: () => void;
}

const isPhone = matchMedia("(pointer: coarse)");
const modifier = /Mac|iPhone|iPad/.test(navigator.userAgent) ? "⌘" : "Ctrl";

export function MessageBox({ box, id, text, onSend }: MessageBoxProps) {
  const say = words.value;
  const onKeyDown = (event: KeyboardEvent): void => {
    // During input method composition, Enter chooses a word.
    if (event.key !== "Enter" || event.isComposing || event.shiftKey) return;
    if (!event.ctrlKey && !event.metaKey && !isPhone.matches) return;
    event.preventDefault();
    onSend();
  };
  return (
    <>
      <label class="unseen" for={id}>
        {say.message}
      </label>
      <textarea
        ref={box}
        id={id}
        data-part="message"
        rows={2}
        value={text.value}
        onInput={({ currentTarget }) => (text.value = currentTarget.value)}
        onKeyDown={onKeyDown}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        enterkeyhint="send"
        placeholder={isPhone.matches ? say.messagePlaceholder : say.messageKeys(modifier)}
      />
    </>
  );
}
