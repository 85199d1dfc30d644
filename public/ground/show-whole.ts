/** Scrolls what was just opened into view: it may be below the end of its panel. */
export function showWhole({ currentTarget }: { readonly currentTarget: HTMLElement }): void {
  if (currentTarget.hasAttribute("open")) currentTarget.scrollIntoView({ block: "nearest" });
}
