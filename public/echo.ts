/** The echo panel: sends a greeting on the line /ping, shows what comes back, and sends what is typed. */
import { asSocketUrl, nextToPage } from "./address.ts";
import { findPart } from "./element.ts";
import type { Data } from "./log.ts";
import { Panel } from "./panel.ts";
import type { Words } from "./words.ts";

const greeting = "Hello WebSockets!";

/** @throws if index.html lacks a part of the panel */
export function startEchoPanel(element: HTMLElement, words: Words): void {
  const binary = findPart(element, "binary", HTMLInputElement);
  const sendButton = findPart(element, "send", HTMLButtonElement);
  const url = asSocketUrl(nextToPage("ping"));
  /** The send time of each unanswered message, oldest first: every message is answered, in order. */
  let sentAtMilliseconds: number[] = [];

  const panel = new Panel(element, words, {
    url: () => url,
    heartbeat: { message: "ping", isAnswer: (data) => data === "pong" },
    onState: ({ name }) => {
      sendButton.disabled = name !== "open";
      if (name !== "open") return;
      sentAtMilliseconds = [];
      panel.log.note(words.noteOpen);
      send(greeting);
    },
    onMessage: (data) => {
      const sentAt = sentAtMilliseconds.shift();
      if (sentAt === undefined) return panel.log.received(data);
      const roundTripMilliseconds = performance.now() - sentAt;
      panel.log.received(data, { roundTripMilliseconds });
      panel.status.showRoundTrip(roundTripMilliseconds);
    },
    onSend: () => {
      const { message } = panel;
      const data = binary.checked ? new TextEncoder().encode(message.value).buffer : message.value;
      if (send(data)) message.value = "";
      message.focus();
    },
  });

  function send(data: Data): boolean {
    const now = performance.now();
    if (!panel.line.send(data)) return false;
    sentAtMilliseconds.push(now);
    panel.log.sent(data);
    return true;
  }

  panel.status.showAddress(url);
  findPart(element, "binaryChoice", HTMLElement).title = words.binaryMeaning;
  panel.line.connect();
}
