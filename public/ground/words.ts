/** The texts of the page in the chosen language. */
import { computed, effect } from "@preact/signals";
import { chinese } from "../words/chinese.ts";
import { english, type Words } from "../words/english.ts";
import { isOneOf, type Language, stored } from "./settings.ts";

export const language = stored<Language>(
  "language",
  chooseLanguage(navigator.languages),
  isOneOf<Language>("en", "zh"),
);

export const words = computed<Words>(() => (language.value === "zh" ? chinese : english));

effect(() => {
  document.documentElement.lang = words.value.tag;
  document.title = words.value.title;
});

/** The first of the given languages (BCP 47) that the page has texts in, else English. */
function chooseLanguage(languages: readonly string[]): Language {
  for (const tag of languages) {
    const [primary] = tag.toLowerCase().split("-");
    if (primary === "zh" || primary === "en") return primary;
  }
  return "en";
}
