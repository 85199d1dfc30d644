/** Feeds in Redis: what its servers and the settings of the nodes do to them. The contract has the rest. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { RedisBrokerSettings } from "../../../src/engine/redis/broker.ts";
import { BrokerUnavailable } from "../../../src/topic/broker.ts";
import { removalOf } from "../../../src/topic/key.ts";
import { formatId, type Message, type Position } from "../../../src/topic/message.ts";
import { closedAfterEach } from "../../support/closed-after-each.ts";
import { RedisServer } from "../../support/redis.ts";
import { RedisNode } from "../../support/redis-node.ts";
import { spawnServer } from "../../support/server.ts";
import { sharedRedis } from "../../support/shared-redis.ts";
import { lacks } from "../../support/tool.ts";
import { everyEvent, openStream, publish } from "../../support/topics.ts";
import { until } from "../../support/wait.ts";
import { all, endTopic, failureOf, once, post, text, wholePage } from "../contract/messages.ts";

setDefaultTimeout(120_000);

const opened = closedAfterEach();
const emptyRedis = sharedRedis(opened);

const serverOf = async (...flags: string[]): Promise<RedisServer> =>
  opened(await RedisServer.start(...flags));

const feeds = [{ pattern: "chat/*", topic: "all-chats" }];
const keyed = ["chat/state"];

async function nodeOn(server: RedisServer, settings: Partial<RedisBrokerSettings> = {}): Promise<RedisNode> {
  const node = opened(await RedisNode.on(server, { feeds, keyed, ...settings }));
  return node;
}

async function messagesOf(node: RedisNode, topic: string): Promise<readonly Message[]> {
  return (await node.broker.history(topic, all, wholePage))?.messages ?? [];
}

/** The ids that the entries of the feed had in their topics. */
const originIds = async (node: RedisNode): Promise<unknown[]> =>
  (await messagesOf(node, "all-chats")).map(({ attributes }) => attributes?.originid);

describe.skipIf(lacks("redis-server"))("a feed in Redis", () => {
  test("is read by event stream at one node, and gets what is published at another", async () => {
    const redis = await emptyRedis();
    const flags = ["--redis", redis.url, "--feed", "chat/* all-chats"];
    await using one = await spawnServer(flags);
    await using other = await spawnServer(flags);
    for (const { url } of [one, other])
      await until(async () => (await fetch(new URL("/readyz", url))).ok, "a node to reach Redis");
    await using stream = await openStream(other, "all-chats");
    await stream.next();
    const ids = [await publish(one, "chat/1", "hello"), await publish(one, "chat/2", "there")];
    const [first, second] = [await stream.next(), await stream.next()];
    expect([first.data, second.data]).toEqual(["hello", "there"]);
    expect(await everyEvent(other, "all-chats", first.id)).toMatchObject([
      { id: second.id, topic: "all-chats", origin: "chat/2", originid: ids[1], data: "there" },
    ]);
  });

  test("begins a new epoch with its topics where a replica is promoted, and its readers are told a gap", async () => {
    const [primary, replica] = [await serverOf(), await serverOf()];
    await replica.follow(primary);
    const unread = { pattern: "chat/*", topic: "unread" };
    const settings = { feeds: [...feeds, unread] };
    const node = await nodeOn(primary, settings);
    const [own, feed] = [await node.come(undefined, "chat/1"), await node.come(undefined, "all-chats")];
    await node.publish("one", "chat/1");
    await node.publish("two", "chat/2");
    await own.has("one");
    await feed.has("two");
    const [ofUnread] = await messagesOf(node, unread.topic);
    const before = [own.id, feed.id, formatId(ofUnread as Message)];
    await replica.caughtUp(primary);
    await primary.kill();
    await replica.promote();
    node.line.leadTo(replica);
    await node.away();
    await node.ready();
    await until(() => own.gaps > 0 && feed.gaps > 0, "the gaps");
    const after = await node.publishAtLast("three", "chat/1");
    await own.has("three");
    await feed.has("three");
    const lastOfUnread = (await messagesOf(node, unread.topic)).at(-1) as Message;
    const epochs = [...before, own.id, feed.id, formatId(lastOfUnread)].map((id) => id.split("-")[0]);
    expect(new Set(epochs).size).toBe(6);
    expect([own.gaps, feed.gaps]).toEqual([1, 1]);
    expect((await originIds(node)).at(-1)).toBe(formatId(after));
    // Its own fork says what a reader of the epoch before has.
    const away = await (await nodeOn(replica, settings)).come(before[1], "all-chats");
    await away.has("three");
    expect([away.gaps, away.received]).toEqual([1, ["three"]]);
  });

  test("goes on in its epoch where Redis reads its append-only file again, past what it may have given", async () => {
    const server = await serverOf("--appendonly", "yes");
    const node = await nodeOn(server);
    const feed = await node.come(undefined, "all-chats");
    await node.publish("one", "chat/1");
    await feed.has("one");
    const [before = { epoch: "", offset: 0 }] = await messagesOf(node, "all-chats");
    await server.shutdown();
    await node.away();
    await server.restart();
    await node.ready();
    const position = await node.publishAtLast("two", "chat/2");
    await feed.has("two");
    const last = (await messagesOf(node, "all-chats")).at(-1);
    expect([last?.epoch, last?.previous]).toEqual([before.epoch, before.offset]);
    expect(last?.offset).toBeGreaterThan(before.offset + 1);
    expect(last?.attributes?.originid).toBe(formatId(position));
    expect([feed.gaps, feed.received]).toEqual([0, ["one", "two"]]);
  });

  test("that was a topic of its own, and has ended, begins a new epoch with what comes first", async () => {
    const server = await emptyRedis();
    const before = await nodeOn(server, { feeds: [] });
    await before.publish("own", "all-chats");
    const ended = await endTopic(before.broker, "all-chats");
    await before[Symbol.asyncDispose](); // Nodes of two settings are not ready at once.
    const node = await nodeOn(server);
    await node.publish("one", "chat/1");
    await node.publish("two", "chat/1");
    const messages = await messagesOf(node, "all-chats");
    expect(messages.map(({ data }) => data)).toEqual(["one", "two"]);
    expect(messages.map(({ offset }) => offset)).toEqual([ended.offset + 1, ended.offset + 2]);
    expect(messages[0]?.epoch).not.toBe(ended.epoch);
    const client = await node.come(formatId(ended), "all-chats");
    await client.has("two");
    expect([client.gaps, client.received, client.hasEnded]).toEqual([1, ["one", "two"], false]);
  });

  test("that cannot be appended to leaves no answer for a repetition, which appends to it", async () => {
    const server = await emptyRedis();
    const node = await nodeOn(server);
    await server.command("RPUSH", "test:{all-chats}:p", "no hash");
    expect(await failureOf(post(node.broker, "chat/1", text("one"), once))).toBeInstanceOf(BrokerUnavailable);
    await server.command("DEL", "test:{all-chats}:p");
    const position = await post(node.broker, "chat/1", text("one"), once);
    expect(await post(node.broker, "chat/1", text("one"), once)).toEqual(position);
    expect(await originIds(node)).toEqual([formatId(position)]);
  });

  test("is told the removal of a key while Redis is full, and gets nothing of what is refused", async () => {
    const server = await emptyRedis();
    const node = await nodeOn(server);
    const set = { ...text("1"), attributes: { partitionkey: "a" } };
    const positions: Position[] = [await post(node.broker, "chat/state", set)];
    await server.command("CONFIG", "SET", "maxmemory", "1");
    expect(await failureOf(node.publish("refused", "chat/1"))).toBeInstanceOf(BrokerUnavailable);
    positions.push(await post(node.broker, "chat/state", removalOf("a")));
    expect(await originIds(node)).toEqual(positions.map(formatId));
  });
});
