/** The form below a log: sends by its button, by Ctrl+Enter and by Cmd+Enter. */
import { findPart } from "./element.ts";

export function startComposer(panel: HTMLElement, send: () => void): void {
  findPart(panel, "modifier", HTMLElement).textContent = isApple() ? "⌘" : "Ctrl";
  findPart(panel, "composer", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  findPart(panel, "message", HTMLTextAreaElement).addEventListener("keydown", (event) => {
    // During input method composition, Enter chooses a word.
    if (event.key !== "Enter" || event.isComposing || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    send();
  });
}

function isApple(): boolean {
  return /Mac|iPhone|iPad/.test(navigator.userAgent);
}
