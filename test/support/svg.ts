/** Elements of the pictures that benchmarks and the structure are drawn as. */

/** @returns an element of SVG with its attributes and text, escaped */
export function element(
  name: string,
  attributes: Readonly<Record<string, string | number>>,
  text = "",
): string {
  const written = Object.entries(attributes).map(
    ([key, value]) => ` ${key}="${Bun.escapeHTML(String(value))}"`,
  );
  return `<${name}${written.join("")}>${Bun.escapeHTML(text)}</${name}>`;
}
