/** What the soak takes for right is what the server does: nobody runs the soak each day. */
import { expect, test } from "bun:test";
import { sharedServer } from "../support/shared-server.ts";
import { refusals } from "./others.ts";
import { serverFlags } from "./stage.ts";

const server = sharedServer(serverFlags);

for (const { what, status, path, init } of refusals) {
  test(`the soak's request with ${what} is refused with ${status}`, async () => {
    const response = await fetch(`${server.url}topics/${path}`, init);
    await response.bytes();
    expect(response.status).toBe(status);
  });
}
