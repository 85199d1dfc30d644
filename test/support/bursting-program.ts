/**
 * A program that publishes messages of 64 KiB to `busy` in one step, once `begin` has a message.
 *
 *   bun test/support/bursting-program.ts MESSAGES MAX_BUFFERED_MIB MAX_BUFFERED_TOTAL_MIB
 */
import { createServer } from "../../src/longwire.ts";

const MiB = 1024 * 1024;

const [messages, maxBuffered, maxBufferedTotal] = process.argv.slice(2).map(Number);
const server = await createServer({
  port: 0,
  bufferedBytesMax: Number(maxBuffered) * MiB,
  bufferedBytesTotalMax: Number(maxBufferedTotal) * MiB,
  logLevel: "silent",
});
console.log(`${server.url} and its line is at /ping`);
for await (const _ of server.subscribe("begin", { since: "all" })) {
  const texts = Array.from({ length: Number(messages) }, (_, number) => `${number} `.padEnd(64 * 1024, "x"));
  await Promise.all(texts.map((text) => server.publish("busy", text)));
}
