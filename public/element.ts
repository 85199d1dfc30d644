/** Finding what index.html promises. A part that is missing is a mistake in the page, so it is told at once. */

/** @throws when there is none, or it is of another kind */
export function find<Kind extends Element>(root: ParentNode, selector: string, kind: new () => Kind): Kind {
  const found = root.querySelector(selector);
  if (found instanceof kind) return found;
  throw new Error(`index.html has no ${kind.name} at ${selector}`);
}

/** A panel's element marked `data-part="…"`. */
export function findPart<Kind extends Element>(panel: ParentNode, part: string, kind: new () => Kind): Kind {
  return find(panel, `[data-part="${part}"]`, kind);
}
