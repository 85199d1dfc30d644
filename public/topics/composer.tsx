/** Writes and publishes messages. */
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { MessageBox } from "../ground/message-box.tsx";
import { showWhole } from "../ground/show-whole.ts";
import { words } from "../ground/words.ts";
import { topicNames, topicsText } from "./choice.ts";
import { attributeText, attributeType, draft, ends, isJson, readAttributes, target } from "./draft.ts";
import type { Publisher } from "./publisher.ts";
import { faultOfTopicName } from "./topic-name.ts";

interface ComposerProps {
  readonly publisher: Publisher;
  /** Stands beside what is seldom needed. */
  readonly children: preact.ComponentChildren;
}

export function Composer({ publisher, children }: ComposerProps) {
  const say = words.value;
  const box = useRef<HTMLTextAreaElement>(null);
  const fault = useSignal("");
  const send = async (): Promise<void> => {
    const topics = topicNames(target.value.trim() === "" ? topicsText.value : target.value);
    const attributes = readAttributes(attributeText.value);
    const topicFault = topics.map(faultOfTopicName).find((fault) => fault !== undefined);
    fault.value = topicFault ? say.topicFaults[topicFault] : attributes ? "" : say.attributesFault;
    if (fault.value !== "" || !attributes) return;
    const text = draft.value;
    draft.value = "";
    box.current?.focus();
    const isPublished = await publisher.publish({
      topics,
      body: text,
      contentType: isJson.value ? "application/json" : "text/plain",
      attributes: { type: attributeType.value.trim(), ...attributes },
      ends: ends.value,
    });
    if (isPublished) ends.value = false;
    else if (draft.value === "") draft.value = text; // To be corrected and sent again.
  };
  return (
    <form
      class="composer"
      data-part="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <div class="writing">
        <MessageBox box={box} id="topic-message" text={draft} onSend={() => void send()} />
        <button type="submit" data-part="send">
          {target.value.trim() === "" ? say.publish : say.publishTo(target.value.trim())}
        </button>
      </div>
      <div class="sending">
        <label class="choice" title={say.jsonMeaning}>
          <input
            type="checkbox"
            data-part="json"
            checked={isJson.value}
            onChange={({ currentTarget }) => (isJson.value = currentTarget.checked)}
          />
          <span>{say.asJson}</span>
        </label>
        <p class="fault" data-part="publishFault" role="alert">
          {fault.value}
        </p>
        {children}
        <Extras />
      </div>
    </form>
  );
}

/** What a message seldom has. */
function Extras() {
  const say = words.value;
  return (
    <details class="extras" data-part="extras" onToggle={showWhole}>
      <summary>{say.extras}</summary>
      <div class="fields">
        <label>
          <span>{say.targetLabel}</span>
          <input
            data-part="target"
            value={target.value}
            placeholder={topicsText.value}
            onInput={({ currentTarget }) => (target.value = currentTarget.value)}
          />
        </label>
        <label>
          <span>{say.typeLabel}</span>
          <input
            data-part="attributeType"
            value={attributeType.value}
            placeholder="order.created"
            onInput={({ currentTarget }) => (attributeType.value = currentTarget.value)}
          />
        </label>
        <label>
          <span>{say.attributesLabel}</span>
          <input
            data-part="attributes"
            value={attributeText.value}
            placeholder="subject=42 priority=high"
            onInput={({ currentTarget }) => (attributeText.value = currentTarget.value)}
          />
        </label>
        <label class="choice" title={say.endMeaning}>
          <input
            type="checkbox"
            data-part="ends"
            checked={ends.value}
            onChange={({ currentTarget }) => (ends.value = currentTarget.checked)}
          />
          <span>{say.endLabel}</span>
        </label>
      </div>
    </details>
  );
}
