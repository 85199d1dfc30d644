/** Resolves in the next turn of the event loop, so that others are served in between: resolved promises do not let them. */
export function nextTurn(): Promise<undefined> {
  next ??= new Promise((resolve) => {
    setImmediate(() => {
      next = undefined;
      resolve(undefined);
    });
  });
  return next;
}

/** Shared by all that wait in one turn. */
let next: Promise<undefined> | undefined;
