/** The form for the topic's name: checks the name and says what is wrong with it. */
import { findPart } from "./element.ts";
import { faultOfTopicName } from "./topic-name.ts";
import type { Words } from "./words.ts";

export interface TopicFormEvents {
  /** The name is to be subscribed to. It may be one that no topic can have. */
  onSubmit(): void;
  onInput(): void;
}

export class TopicForm {
  readonly #name: HTMLInputElement;
  readonly #fault: HTMLElement;
  readonly #faults: Words["topicFaults"];

  /** @throws if index.html lacks a part of the form */
  constructor(panel: HTMLElement, words: Words, events: TopicFormEvents) {
    this.#name = findPart(panel, "topic", HTMLInputElement);
    this.#fault = findPart(panel, "topicFault", HTMLElement);
    this.#faults = words.topicFaults;
    findPart(panel, "topicForm", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      events.onSubmit();
    });
    this.#name.addEventListener("input", () => {
      // A fault is shown when the name is submitted, and taken away as soon as it is corrected.
      if (this.#name.ariaInvalid === "true") this.check();
      events.onInput();
    });
  }

  /** The name as typed, or undefined if no topic can have it. */
  get topic(): string | undefined {
    return faultOfTopicName(this.#name.value) ? undefined : this.#name.value;
  }

  /** Like `topic`, and shows the fault. */
  check(): string | undefined {
    const fault = faultOfTopicName(this.#name.value);
    this.#fault.textContent = fault ? this.#faults[fault] : "";
    this.#name.ariaInvalid = fault ? "true" : null;
    if (fault) this.#name.focus();
    return this.topic;
  }
}
