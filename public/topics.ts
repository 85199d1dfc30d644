/** The topics panel: follows a topic through every disconnect, publishes to it, and cuts the line on purpose. */
import { asSocketUrl } from "./address.ts";
import { jsonType, publishCommand, subscribeCommand } from "./curl.ts";
import { findPart } from "./element.ts";
import type { LineState } from "./line.ts";
import { Panel } from "./panel.ts";
import { Publisher } from "./publisher.ts";
import { Subscription } from "./subscription.ts";
import { pingEvent, readTopicEvent } from "./topic-events.ts";
import { TopicForm } from "./topic-form.ts";
import { textType, topicUrl } from "./topic-requests.ts";
import type { Words } from "./words.ts";

/** Long enough to publish something meanwhile. */
const cutSeconds = 10;

export class TopicsPanel {
  readonly #words: Words;
  readonly #panel: Panel;
  readonly #form: TopicForm;
  readonly #subscription: Subscription;
  readonly #publisher: Publisher;
  readonly #subscribeButton: HTMLButtonElement;
  readonly #cutButton: HTMLButtonElement;
  readonly #comeBackButton: HTMLButtonElement;
  readonly #json: HTMLInputElement;
  readonly #subscribeCurl: HTMLElement;
  readonly #publishCurl: HTMLElement;
  /** The `since` of the present connection, or of the next one if there is none. */
  #askedSince: string | undefined;

  /** @throws if index.html lacks a part of the panel */
  constructor(element: HTMLElement, words: Words) {
    this.#words = words;
    this.#subscribeButton = findPart(element, "subscribe", HTMLButtonElement);
    this.#cutButton = findPart(element, "cut", HTMLButtonElement);
    this.#comeBackButton = findPart(element, "reconnect", HTMLButtonElement);
    this.#json = findPart(element, "json", HTMLInputElement);
    this.#subscribeCurl = findPart(element, "subscribeCurl", HTMLElement);
    this.#publishCurl = findPart(element, "publishCurl", HTMLElement);
    this.#panel = new Panel(element, words, {
      url: () => asSocketUrl(topicUrl(this.#subscription.topic, this.#subscription.lastId)),
      subprotocols: ["cloudevents.json"],
      heartbeat: { message: pingEvent, isAnswer: (frame) => readTopicEvent(frame).type === "pong" },
      onState: (state) => this.#stateChanged(state),
      onMessage: (frame) => this.#subscription.receive(readTopicEvent(frame)),
      onSend: () => this.#publishTyped(),
    });
    this.#subscription = new Subscription(this.#panel.log, words);
    this.#publisher = new Publisher(this.#panel.log, words);
    this.#form = new TopicForm(element, words, {
      onSubmit: () => this.#subscribe(),
      onInput: () => this.#showAddresses(),
    });
    findPart(element, "state", HTMLElement).textContent = words.notSubscribed;
    findPart(element, "jsonChoice", HTMLElement).title = words.jsonMeaning;
    this.#cutButton.title = words.cutMeaning;
    this.#cutButton.addEventListener("click", () => this.#panel.line.cut(cutSeconds));
    this.#panel.message.addEventListener("input", () => this.#showCurl());
    this.#json.addEventListener("change", () => this.#showCurl());
    this.#showAddresses();
  }

  #stateChanged(state: LineState): void {
    this.#showButtons(state);
    if (state.name === "open" || this.#askedSince === this.#subscription.lastId) return;
    this.#askedSince = this.#subscription.lastId;
    this.#showAddresses();
  }

  #subscribe(): void {
    const topic = this.#form.check();
    if (topic === undefined) return;
    this.#subscription.start(topic);
    this.#askedSince = this.#subscription.lastId;
    this.#showAddresses();
    this.#panel.line.connect();
  }

  #publishTyped(): void {
    const topic = this.#form.check();
    if (topic === undefined) return;
    const { message } = this.#panel;
    const text = message.value;
    message.value = "";
    message.focus();
    this.#showCurl();
    const contentType = this.#json.checked ? jsonType : textType;
    const label = [
      topic === this.#subscription.topic ? "" : topic,
      contentType === textType ? "" : contentType,
    ].join(" ");
    this.#publisher.publish({ topic, text, contentType, label: label.trim() }, () => {
      if (message.value !== "") return;
      message.value = text; // To be corrected and sent again.
      this.#showCurl();
    });
  }

  #showAddresses(): void {
    const { topic } = this.#subscription;
    const typed = this.#form.topic;
    this.#subscribeButton.classList.toggle("primary", typed !== topic);
    if (topic !== "") this.#panel.status.showAddress(asSocketUrl(topicUrl(topic, this.#askedSince)));
    else if (typed !== undefined) this.#panel.status.showAddress(asSocketUrl(topicUrl(typed)));
    this.#showCurl();
  }

  #showCurl(): void {
    const topic = this.#form.topic;
    if (topic === undefined) return;
    const since = topic === this.#subscription.topic ? this.#askedSince : undefined;
    const text = this.#panel.message.value || this.#words.curlText;
    this.#subscribeCurl.textContent = subscribeCommand(topicUrl(topic, since));
    this.#publishCurl.textContent = publishCommand(topicUrl(topic), text, this.#json.checked);
  }

  /** Cutting and coming back share one place: only the one that is possible now is shown. */
  #showButtons({ name: state }: LineState): void {
    this.#cutButton.disabled = state !== "open";
    const isAway = state === "connecting" ? this.#cutButton.hidden : state !== "open";
    const [shown, hidden] = isAway
      ? [this.#comeBackButton, this.#cutButton]
      : [this.#cutButton, this.#comeBackButton];
    const hadFocus = document.activeElement === hidden;
    shown.hidden = false;
    hidden.hidden = true;
    if (hadFocus) shown.focus();
  }
}
