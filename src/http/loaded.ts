/** Handlers whose code is loaded at the first request for one of them, so that a start does not pay for it. */
import type { Handler } from "./request-context.ts";

/**
 * @param load imports the code, and makes the handlers of all the paths. One that failed is called again at the next request:
 * there may have been no file descriptor for the code at that moment
 */
export function loadedHandlers<Path extends string>(
  paths: readonly Path[],
  load: () => Promise<Readonly<Record<Path, Handler>>>,
): Record<string, Handler> {
  let loading: Promise<Readonly<Record<Path, Handler>>> | undefined;
  const handlerOf =
    (path: Path): Handler =>
    async (context) => {
      loading ??= load().catch((error) => {
        loading = undefined;
        throw error;
      });
      return (await loading)[path](context);
    };
  return Object.fromEntries(paths.map((path) => [path, handlerOf(path)]));
}
