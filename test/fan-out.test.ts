/** A topic's live subscribers are found and moved as one, in every form, and those of other topics are left alone. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import { root } from "./support/server.ts";
import { sharedServer } from "./support/shared-server.ts";
import {
  inspect,
  newTopic,
  openEvents,
  openStream,
  openTopic,
  post,
  publish,
  type TopicClient,
} from "./support/topics.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(30_000);

const server = sharedServer([], {
  command: [
    process.execPath,
    "--preload",
    resolve(root, "test/support/lossy-engine.ts"),
    resolve(root, "src/index.ts"),
  ],
});

test("a lost past is reported once to each live subscriber, and each gets what follows once", async () => {
  const [one, other] = [newTopic(), newTopic()];
  await publish(server, one, "lost");
  const single = await openEvents(server, other);
  const sockets = await Promise.all([
    openEvents(server, one),
    openEvents(server, one),
    openEvents(server, one),
  ]);
  const both = await openEvents(server, `${one},${other}`);
  const raw = await openTopic(server, one);
  await using stream = await openStream(server, one);
  await stream.next();

  await post(server, "lose-everything", "");
  expect(await within(raw.closed, "the raw socket to be closed")).toMatchObject({ code: 4410 });
  for (const socket of [...sockets, both])
    expect(await socket.event()).toMatchObject({ type: "longwire.gap" });
  expect((await stream.next()).event).toBe("longwire.gap");

  // Those of a topic that had no message are told too, once the topic is compared.
  for (const text of ["first", "second"]) await publish(server, one, text);
  for (const text of ["first", "second"]) {
    for (const socket of sockets) expect(await socket.event()).toMatchObject({ topic: one, data: text });
    expect((await stream.next()).data).toBe(text);
  }
  const received = [await both.event(), await both.event(), await both.event()];
  expect(received.map(({ type }) => type).toSorted()).toEqual([
    "longwire.gap",
    "longwire.message",
    "longwire.message",
  ]);
  expect(await single.event()).toMatchObject({ type: "longwire.gap" });
  await publish(server, other, "third");
  for (const socket of [single, both])
    expect(await socket.event()).toMatchObject({ topic: other, data: "third" });
});

test("subscribers leave in any order, and the ones that stay get each message once", async () => {
  const topic = newTopic();
  const first = await openTopic(server, topic);
  const second = await openTopic(server, topic);
  const third = await openTopic(server, topic);
  const leave = async (client: TopicClient, left: number): Promise<void> => {
    client.terminate();
    await until(async () => (await inspect(server, topic)).subscribers === left, "one to have left");
  };
  await publish(server, topic, "to three");
  for (const client of [first, second, third]) expect(await client.next()).toBe("to three");
  await leave(first, 2);
  const fourth = await openTopic(server, topic);
  await publish(server, topic, "to three again");
  for (const client of [second, third, fourth]) expect(await client.next()).toBe("to three again");
  await leave(third, 2);
  await leave(second, 1);
  await publish(server, topic, "to one");
  expect(await fourth.next()).toBe("to one");
  await leave(fourth, 0);
  const fifth = await openTopic(server, topic);
  await publish(server, topic, "to the last");
  expect(await fifth.next()).toBe("to the last");
});
