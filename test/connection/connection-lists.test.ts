import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Socket } from "../../src/connection/connection.ts";
import { SocketList } from "../../src/connection/socket-list.ts";
import { LiveList } from "../../src/delivery/live-list.ts";
import { Subscription } from "../../src/topic/subscription.ts";
import { LiveVisitors } from "../support/live-visitors.ts";
import { localTopic } from "../support/topic-readers.ts";

setDefaultTimeout(120_000);

const topic = localTopic(new LiveVisitors());

/** A list of the readers 0 to `count - 1`, and their subscriptions. */
function liveList(count: number): { list: LiveList<number>; subscriptions: Subscription[] } {
  const list = new LiveList<number>();
  const subscriptions = Array.from({ length: count }, () => new Subscription(topic, undefined));
  for (const [reader, subscription] of subscriptions.entries()) list.add(reader, subscription);
  return { list, subscriptions };
}

function visited(list: LiveList<number>): number[] {
  const readers: number[] = [];
  list.visit((reader) => readers.push(reader));
  return readers;
}

describe("the live subscribers of a topic", () => {
  test("are visited in the order in which they came, whoever left", () => {
    const { list, subscriptions } = liveList(10);
    for (const [reader, subscription] of subscriptions.entries())
      if (reader % 3 > 0) list.delete(subscription);
    expect(visited(list)).toEqual([0, 3, 6, 9]);
    expect([...list]).toEqual([0, 3, 6, 9]);
    expect(list.size).toBe(4);

    list.add(10, subscriptions[1] as Subscription);
    list.delete(subscriptions[3] as Subscription);
    list.delete(subscriptions[3] as Subscription);
    expect(visited(list)).toEqual([0, 6, 9, 10]);
  });

  test("are each visited once while most of them leave", () => {
    const { list, subscriptions } = liveList(100);
    const readers: number[] = [];
    for (const reader of list) {
      readers.push(reader);
      if (reader === 9) for (const gone of subscriptions.slice(0, 90)) list.delete(gone);
    }
    expect(readers).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
  });

  test("are all handed over when the topic continues elsewhere", () => {
    const { list, subscriptions } = liveList(5);
    list.delete(subscriptions[2] as Subscription);
    expect(list.clear()).toEqual([0, 1, 3, 4].map((reader) => subscriptions[reader] as Subscription));
    expect(list.size).toBe(0);
    expect(visited(list)).toEqual([]);
  });
});

describe("the open sockets", () => {
  const sockets = (count: number): Socket[] =>
    Array.from({ length: count }, () => ({ data: { listIndex: -1 } }) as Socket);

  test("are visited at least once, whichever are closed meanwhile", () => {
    const list = new SocketList();
    const all = sockets(50);
    for (const socket of all) list.add(socket);
    const seen = new Set<Socket>();
    for (const socket of list) {
      seen.add(socket);
      const index = all.indexOf(socket);
      for (const gone of [index, index - 1, index + 1]) if (gone % 5 > 0 && all[gone]) list.delete(all[gone]);
    }
    for (const [index, socket] of all.entries()) if (index % 5 === 0) expect(seen).toContain(socket);
    expect(list.size).toBe(10);
    expect(new Set(list)).toEqual(new Set(all.filter((_, index) => index % 5 === 0)));
  });

  test("are deleted once", () => {
    const list = new SocketList();
    const [one, other] = sockets(2) as [Socket, Socket];
    list.add(one);
    list.add(other);
    expect(list.delete(one)).toBe(true);
    expect(list.delete(one)).toBe(false);
    expect([...list]).toEqual([other]);
  });
});
