/** Colours of the style sheet for what is painted on a canvas. */

/** @param name of a CSS variable, without its dashes @returns the colour in the present theme */
export function colorOf(element: HTMLElement, name: string): string {
  const { color } = element.style;
  element.style.color = `var(--${name})`;
  const found = getComputedStyle(element).color;
  element.style.color = color;
  return found;
}
