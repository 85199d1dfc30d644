/** What the tests of a file open, so that each closes it. */
import { afterEach } from "bun:test";

/**
 * Call it at the top level of a file.
 * @returns notes a resource, and gives it back. After each test those that it opened are closed, the last first
 */
export function closedAfterEach(): <Resource extends AsyncDisposable>(resource: Resource) => Resource {
  const opened: AsyncDisposable[] = [];
  afterEach(async () => {
    for (const resource of opened.splice(0).toReversed()) await resource[Symbol.asyncDispose]();
  });
  return (resource) => {
    opened.push(resource);
    return resource;
  };
}
