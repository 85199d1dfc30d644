/** Finds elements of index.html. A missing one is a mistake in the page, so it is an error at the start. */

/** @throws if there is none, or it is of another kind */
export function find<Kind extends Element>(root: ParentNode, selector: string, kind: new () => Kind): Kind {
  const found = root.querySelector(selector);
  if (found instanceof kind) return found;
  throw new Error(`index.html has no ${kind.name} at ${selector}`);
}

/** A panel's element marked `data-part="…"`. */
export function findPart<Kind extends Element>(panel: ParentNode, part: string, kind: new () => Kind): Kind {
  return find(panel, `[data-part="${part}"]`, kind);
}
