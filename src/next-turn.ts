/** Resolves in the next turn of the event loop, so that others are served in between: resolved promises do not let them. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
