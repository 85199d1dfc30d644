/** The page: chooses the language, places its texts, and starts the panels. */
import { startEchoPanel } from "./echo.ts";
import { find } from "./element.ts";
import { TopicsPanel } from "./topics.ts";
import { chooseWords, type StaticWord, type Words } from "./words.ts";

const words = chooseWords(navigator.languages);
document.documentElement.lang = words.language;
document.title = words.title;
placeStatus();
placeWords(document.body, words);

const main = find(document, "main", HTMLElement);
main.hidden = false;
startEchoPanel(find(main, "#echo", HTMLElement), words);
new TopicsPanel(find(main, "#topics", HTMLElement), words);

/** The two panels show the status of their lines in the same way. */
function placeStatus(): void {
  const { content } = find(document, "#status", HTMLTemplateElement);
  for (const status of document.querySelectorAll(".status"))
    status.prepend(document.importNode(content, true));
}

/** index.html names the text of an element, its label or its placeholder. */
function placeWords(root: HTMLElement, words: Words): void {
  const word = (name: string | undefined): string => words.fixed[name as StaticWord];
  for (const element of root.querySelectorAll<HTMLElement>("[data-words]"))
    element.textContent = word(element.dataset.words);
  for (const element of root.querySelectorAll<HTMLElement>("[data-words-label]"))
    element.ariaLabel = word(element.dataset.wordsLabel);
  for (const element of root.querySelectorAll<HTMLTextAreaElement>("[data-words-placeholder]"))
    element.placeholder = word(element.dataset.wordsPlaceholder);
}
