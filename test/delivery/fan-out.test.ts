/** A topic's live subscribers are found and moved as one, in every form, and those of other topics are left alone. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import { deliveryCount, sampleOf, scrape } from "../support/prometheus.ts";
import { root } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import {
  inspect,
  newTopic,
  openEvents,
  openStream,
  openTopic,
  post,
  publish,
  type TopicClient,
  topicsUrl,
} from "../support/topics.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

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

/** Each opens a subscriber of a form and returns how it leaves. */
const comers: Readonly<Record<string, (topic: string) => Promise<() => unknown>>> = {
  raw: async (topic) => {
    const client = await openTopic(server, topic);
    return () => client.terminate();
  },
  "cloudevents.json": async (topic) => {
    const client = await openEvents(server, topic);
    return () => client.terminate();
  },
  "an event stream": async (topic) => {
    const stream = await openStream(server, topic);
    return () => stream[Symbol.asyncDispose]();
  },
  "a poll": async (topic) => {
    const abort = new AbortController();
    const { position } = await inspect(server, topic);
    const url = `${topicsUrl(server, topic)}?since=${position}&wait=60s`;
    fetch(url, { signal: abort.signal }).catch(() => undefined);
    return () => abort.abort();
  },
};

for (const [form, come] of Object.entries(comers)) {
  test(`a form that all have left costs a publication nothing, though another stays: ${form}`, async () => {
    const topic = newTopic();
    await publish(server, topic, "before");
    const stays = await (form === "raw" ? openEvents(server, topic) : openTopic(server, topic));
    for (let round = 0; round < 3; round++) {
      const leave = await come(topic);
      await until(async () => (await inspect(server, topic)).subscribers === 2, "one to have come");
      await leave();
      await until(async () => (await inspect(server, topic)).subscribers === 1, "it to have left");
    }
    const before = await deliveryCount(server);
    await publish(server, topic, "to the one that stays");
    expect(String(await stays.next())).toContain("to the one that stays");
    expect((await deliveryCount(server)) - before).toBe(1);
  });
}

test("only those that stay are counted as given a message", async () => {
  const topic = newTopic();
  const given = async (): Promise<number> =>
    sampleOf(await scrape(server), "longwire_delivered_messages_total", 'form="raw"');
  const stays = await openTopic(server, topic);
  for (let round = 0; round < 3; round++) (await openTopic(server, topic)).terminate();
  await until(async () => (await inspect(server, topic)).subscribers === 1, "the others to have left");
  const before = await given();
  await publish(server, topic, "to one");
  expect(await stays.next()).toBe("to one");
  expect((await given()) - before).toBe(1);
});
