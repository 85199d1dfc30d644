/** The topics panel: follows a topic through every disconnect, publishes to it, and cuts the line on purpose. */
import { startComposer } from "./composer.ts";
import { jsonType, publishCommand, subscribeCommand } from "./curl.ts";
import { findPart } from "./element.ts";
import { asSocketUrl, Line, type LineState } from "./line.ts";
import { MessageLog } from "./log.ts";
import { follows, Resume } from "./resume.ts";
import { describeEnding, LineStatus } from "./status.ts";
import { pingEvent, readTopicEvent, type TopicEvent } from "./topic-events.ts";
import { faultOfTopicName } from "./topic-name.ts";
import { askPosition, publish, Refusal } from "./topic-requests.ts";
import type { Words } from "./words.ts";

const textType = "text/plain";

/** Long enough to publish something meanwhile. */
const cutSeconds = 10;

/** @throws when index.html lacks a part of the panel */
export function startTopicsPanel(panel: HTMLElement, words: Words): void {
  const status = new LineStatus(panel, words);
  const log = new MessageLog(panel, words);
  const name = findPart(panel, "topic", HTMLInputElement);
  const nameFault = findPart(panel, "topicFault", HTMLElement);
  const subscribeButton = findPart(panel, "subscribe", HTMLButtonElement);
  const cutButton = findPart(panel, "cut", HTMLButtonElement);
  const comeBackButton = findPart(panel, "reconnect", HTMLButtonElement);
  const message = findPart(panel, "message", HTMLTextAreaElement);
  const json = findPart(panel, "json", HTMLInputElement);
  const subscribeCurl = findPart(panel, "subscribeCurl", HTMLElement);
  const publishCurl = findPart(panel, "publishCurl", HTMLElement);

  /** The topic of the line; empty before the first. */
  let topic = "";
  /** Where the line continues when it comes back. */
  let lastId: string | undefined;
  /** What the line asked for with its present connection, or will with the next one. */
  let askedSince: string | undefined;
  let resume: Resume | undefined;
  let wasOpen = false;
  /** Ends when everything that was sent before has been answered: messages stay in the order they were sent. */
  let published = Promise.resolve();

  const line = new Line({
    url: () => asSocketUrl(topicUrl(topic, lastId)),
    subprotocols: ["cloudevents.json"],
    heartbeat: {
      message: pingEvent,
      isAnswer: (frame) => readTopicEvent(frame).type === "pong",
      onRoundTrip: (milliseconds) => status.showRoundTrip(milliseconds),
    },
    onState,
    onMessage: (frame) => receive(readTopicEvent(frame)),
  });

  function onState(state: LineState): void {
    showButtons(state);
    status.show(state);
    if (state.name !== "open" && askedSince !== lastId) {
      askedSince = lastId;
      showAddresses();
    }
    if (state.name === "open") {
      wasOpen = true;
    } else if ((state.name === "closed" || state.name === "waiting") && state.ending) {
      if (state.ending.cause === "cut") log.note(words.noteCut);
      else if (wasOpen || state.name === "closed" || state.tries === 1)
        log.note(words.noteEnded(describeEnding(state.ending, words)));
      wasOpen = false;
    }
  }

  function receive(event: TopicEvent): void {
    switch (event.type) {
      case "open":
        if (event.resumed) {
          log.note(words.noteResumed(event.id));
          void awaitMissed(event.id);
        } else if (lastId === undefined) {
          log.note(words.noteSubscribed(topic, event.id));
        }
        lastId = event.id;
        return;
      case "gap":
        resume = undefined;
        log.note(words.gap(event.requested, event.from), "gap");
        lastId = event.from;
        return;
      case "message": {
        const { id, time, contentType, data } = event;
        if (lastId !== undefined && !follows(id, lastId)) log.note(words.notNext(lastId, id), "error");
        lastId = id;
        log.received(data, { id, time, ...(contentType === textType ? {} : { label: contentType }) });
        resume?.received(id);
      }
    }
  }

  /** The line does not say how much is coming, but the topic can be asked where it stands. */
  async function awaitMissed(fromId: string): Promise<void> {
    const url = topicUrl(topic);
    const current = new Resume(fromId, (count) => log.note(words.noteComplete(count), "complete"));
    resume = current;
    try {
      const position = await askPosition(url);
      if (resume === current && position !== null) current.endsAt(position);
    } catch (error) {
      if (resume === current) log.note(words.notCounted(reasonOf(error)), "error");
    }
  }

  function subscribe(): void {
    const wished = checkedName();
    if (wished === undefined) return;
    if (wished !== topic) lastId = undefined;
    topic = wished;
    resume = undefined;
    askedSince = lastId;
    showAddresses();
    line.connect();
  }

  function publishTyped(): void {
    const wished = checkedName();
    if (wished === undefined) return;
    const text = message.value;
    message.value = "";
    message.focus();
    showCurl();
    const contentType = json.checked ? jsonType : textType;
    const label = [wished === topic ? "" : wished, json.checked ? contentType : ""].join(" ").trim();
    const entry = log.sent(text, { label });
    published = published.then(async () => {
      try {
        entry.showId(await publish(topicUrl(wished), text, contentType));
      } catch (error) {
        // A fault of the server can come before the message is kept or after.
        const isRefused = error instanceof Refusal && error.status < 500;
        entry.showFailure(isRefused ? words.refused : words.unknown);
        const note = isRefused ? words.notPublished : words.perhapsPublished;
        log.note(note(reasonOf(error)), "error");
        if (message.value !== "") return;
        message.value = text; // To be mended and sent again.
        showCurl();
      }
    });
  }

  function reasonOf(error: unknown): string {
    return error instanceof Refusal ? `${error.status}: ${error.detail}` : words.noAnswer;
  }

  /** @returns nothing where no topic can have that name, which is said then */
  function checkedName(): string | undefined {
    const fault = faultOfTopicName(name.value);
    nameFault.textContent = fault ? words.topicFaults[fault] : "";
    name.ariaInvalid = fault ? "true" : null;
    if (!fault) return name.value;
    name.focus();
    return undefined;
  }

  function nameTyped(): void {
    // Nobody is told of a fault before the name is finished, and everybody once it is mended.
    if (name.ariaInvalid === "true") checkedName();
    showAddresses();
  }

  function showAddresses(): void {
    subscribeButton.classList.toggle("primary", name.value !== topic);
    if (topic !== "") status.showAddress(asSocketUrl(topicUrl(topic, askedSince)));
    else if (!faultOfTopicName(name.value)) status.showAddress(asSocketUrl(topicUrl(name.value)));
    showCurl();
  }

  function showCurl(): void {
    if (faultOfTopicName(name.value)) return;
    const url = topicUrl(name.value);
    subscribeCurl.textContent = subscribeCommand(name.value === topic ? topicUrl(topic, askedSince) : url);
    publishCurl.textContent = publishCommand(url, message.value || words.curlText, json.checked);
  }

  /** One button in one place: what can be done to the line now. */
  function showButtons({ name: state }: LineState): void {
    cutButton.disabled = state !== "open";
    const isAway = state === "connecting" ? cutButton.hidden : state !== "open";
    const [shown, hidden] = isAway ? [comeBackButton, cutButton] : [cutButton, comeBackButton];
    const hadFocus = document.activeElement === hidden;
    shown.hidden = false;
    hidden.hidden = true;
    if (hadFocus) shown.focus();
  }

  status.control(line);
  findPart(panel, "jsonChoice", HTMLElement).title = words.jsonMeaning;
  findPart(panel, "clear", HTMLButtonElement).addEventListener("click", () => log.clear());
  cutButton.title = words.cutMeaning;
  cutButton.addEventListener("click", () => line.cut(cutSeconds));
  findPart(panel, "topicForm", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    subscribe();
  });
  name.addEventListener("input", nameTyped);
  message.addEventListener("input", showCurl);
  json.addEventListener("change", showCurl);
  startComposer(panel, publishTyped);
  showAddresses();
}

/** Beside the page, so that it is still right where a proxy serves the page below a path. */
function topicUrl(topic: string, since?: string): URL {
  const url = new URL(`topics/${topic}`, document.baseURI);
  if (since !== undefined) url.searchParams.set("since", since);
  return url;
}
