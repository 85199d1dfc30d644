/** The form for topics: their names, the form of their messages, and where to begin. */
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { words } from "../ground/words.ts";
import { faultOfChoice, form, forms, since, topicsText } from "./choice.ts";

/** Values of `since` to choose from. Others are typed. */
const begins = ["", "all", "last:10", "90s", "10m"];

interface SubscribeFormProps {
  /** @returns whether it was taken */
  readonly onSubmit: () => boolean;
}

export function SubscribeForm({ onSubmit }: SubscribeFormProps) {
  const say = words.value;
  const field = useRef<HTMLInputElement>(null);
  /** A fault is shown when the form is submitted, and taken away as soon as it is corrected. */
  const isChecked = useSignal(false);
  const fault = isChecked.value ? faultOfChoice(topicsText.value, form.value) : undefined;
  const submit = (event: Event): void => {
    event.preventDefault();
    isChecked.value = !onSubmit();
    if (isChecked.value) field.current?.focus();
  };
  return (
    <form class="topic" data-part="topicForm" noValidate onSubmit={submit}>
      <label class="wide">
        <span>{say.topicLabel}</span>
        <input
          ref={field}
          data-part="topic"
          value={topicsText.value}
          onInput={({ currentTarget }) => (topicsText.value = currentTarget.value)}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          aria-invalid={fault !== undefined}
          aria-describedby="topic-fault"
        />
      </label>
      <label>
        <span>{say.formLabel}</span>
        <select
          data-part="form"
          value={form.value}
          onChange={({ currentTarget }) =>
            (form.value = forms.find((known) => known === currentTarget.value) ?? "cloudevents")
          }
        >
          {forms.map((form) => (
            <option key={form} value={form}>
              {say.forms[form]}
            </option>
          ))}
        </select>
      </label>
      <SinceField />
      <button type="submit" data-part="subscribe">
        {say.subscribe}
      </button>
      <p class="fault" id="topic-fault" data-part="topicFault" role="alert">
        {fault && say.topicFaults[fault]}
      </p>
    </form>
  );
}

function SinceField() {
  const say = words.value;
  return (
    <label>
      <span>{say.sinceLabel}</span>
      <input
        data-part="since"
        list="begins"
        value={since.value}
        placeholder={say.sinceNow}
        onInput={({ currentTarget }) => (since.value = currentTarget.value)}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        title={say.sinceMeaning}
      />
      <datalist id="begins">
        {begins.map((value) => (
          <option key={value} value={value} />
        ))}
      </datalist>
    </label>
  );
}
