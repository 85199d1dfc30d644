/** Handlers whose code is loaded at their first request. */
import { expect, test } from "bun:test";
import { loadedHandlers } from "../../src/http/loaded.ts";
import type { RequestContext } from "../../src/http/request-context.ts";

test("code that could not be loaded at one request is loaded at the next, and once for all its paths", async () => {
  let loads = 0;
  const handlers = loadedHandlers(["/one", "/two"], async () => {
    if (++loads === 1) throw new Error("no file descriptor is left");
    return { "/one": () => new Response("one"), "/two": () => new Response("two") };
  });
  const answerOf = async (path: string): Promise<string | undefined> => {
    try {
      return (await handlers[path]?.({} as RequestContext))?.text();
    } catch (error) {
      return String(error);
    }
  };
  const answers = (): Promise<unknown> => Promise.all([answerOf("/one"), answerOf("/two")]);
  const refused = "Error: no file descriptor is left";
  expect(await answers()).toEqual([refused, refused]);
  expect(await answers()).toEqual(["one", "two"]);
  expect(loads).toBe(2);
});
