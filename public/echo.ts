/** The echo panel: greets on the line /ping, shows what comes back, and sends what is typed. */
import { startComposer } from "./composer.ts";
import { findPart } from "./element.ts";
import { asSocketUrl, Line } from "./line.ts";
import { type Data, MessageLog } from "./log.ts";
import { describeEnding, LineStatus } from "./status.ts";
import type { Words } from "./words.ts";

const greeting = "Hello WebSockets!";

/** @throws when index.html lacks a part of the panel */
export function startEchoPanel(panel: HTMLElement, words: Words): void {
  const status = new LineStatus(panel, words);
  const log = new MessageLog(panel, words);
  const message = findPart(panel, "message", HTMLTextAreaElement);
  const binary = findPart(panel, "binary", HTMLInputElement);
  const sendButton = findPart(panel, "send", HTMLButtonElement);
  /** When each message that is still unanswered was sent: the line answers every one, in order. */
  let sentAtMilliseconds: number[] = [];
  let wasOpen = false;
  // Beside the page, so that it is still right where a proxy serves the page below a path.
  const url = asSocketUrl(new URL("ping", document.baseURI));

  const line = new Line({
    url: () => url,
    heartbeat: {
      message: "ping",
      isAnswer: (data) => data === "pong",
      onRoundTrip: (milliseconds) => status.showRoundTrip(milliseconds),
    },

    onState: (state) => {
      status.show(state);
      sendButton.disabled = state.name !== "open";
      if (state.name === "open") {
        sentAtMilliseconds = [];
        wasOpen = true;
        log.note(words.noteOpen);
        send(greeting);
      } else if ((state.name === "closed" || state.name === "waiting") && state.ending) {
        // A server that stays away for a night would otherwise fill the log with its absence.
        if (wasOpen || state.name === "closed" || state.tries === 1)
          log.note(words.noteEnded(describeEnding(state.ending, words)));
        wasOpen = false;
      }
    },

    onMessage: (data) => {
      const sentAt = sentAtMilliseconds.shift();
      if (sentAt === undefined) return log.received(data);
      const roundTripMilliseconds = performance.now() - sentAt;
      log.received(data, { roundTripMilliseconds });
      status.showRoundTrip(roundTripMilliseconds);
    },
  });

  function send(data: Data): boolean {
    const now = performance.now();
    if (!line.send(data)) return false;
    sentAtMilliseconds.push(now);
    log.sent(data);
    return true;
  }

  function sendTyped(): void {
    const data = binary.checked ? new TextEncoder().encode(message.value).buffer : message.value;
    if (send(data)) message.value = "";
    message.focus();
  }

  status.control(line);
  status.showAddress(url);
  findPart(panel, "binaryChoice", HTMLElement).title = words.binaryMeaning;
  findPart(panel, "clear", HTMLButtonElement).addEventListener("click", () => log.clear());
  startComposer(panel, sendTyped);
  line.connect();
}
