/** A program that publishes 64 messages of 64 KiB to `busy` in one step, once `begin` has a message. */
import { createServer } from "../../src/longwire.ts";

const server = await createServer({ port: 0, bufferedBytesTotalMax: 64 * 1024 * 1024, logLevel: "silent" });
console.log(`${server.url} and its line is at /ping`);
for await (const _ of server.subscribe("begin", { since: "all" })) {
  const texts = Array.from({ length: 64 }, (_, number) => `${number} `.padEnd(64 * 1024, "x"));
  await Promise.all(texts.map((text) => server.publish("busy", text)));
}
