import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Server } from "bun";
import { bufferLimits } from "../src/connection/buffers.ts";
import type { Socket } from "../src/connection/connection.ts";
import { Connections } from "../src/connection/connections.ts";
import { NativeFanOut } from "../src/connection/fan-out.ts";
import { HeldBytes } from "../src/connection/held-bytes.ts";
import { LiveList } from "../src/connection/live-list.ts";
import { NativeTopic } from "../src/connection/native-topic.ts";
import { SlicedDelivery } from "../src/connection/sliced-delivery.ts";
import { SocketList } from "../src/connection/socket-list.ts";
import { Proxies } from "../src/http/proxies.ts";
import { Counters } from "../src/metrics.ts";
import { type LocalTopic, Subscription } from "../src/topic/subscription.ts";
import { Encodings } from "../src/wire/encodings.ts";
import { recordingLog } from "./support/recording-log.ts";

setDefaultTimeout(120_000);

const topic: LocalTopic = {
  topic: "news",
  position: { epoch: "a", offset: 0 },
  end: undefined,
  isAt: () => true,
  next: () => undefined,
  read: () => Promise.reject(new Error("nothing is read here")),
  leave: () => undefined,
};

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

const message = { topic: "news", epoch: "a", offset: 1, time: 0, contentType: "text/plain", data: "x" };

function nativeFanOut(): NativeFanOut {
  const config = { bufferedBytesMax: 1024, bufferedBytesTotalMax: 0, messageBytesMax: 512 };
  const counters = new Counters();
  const log = recordingLog();
  const limits = { connectionsMax: 10, connectionsPerAddressMax: 0 };
  const connections = new Connections(limits, new Proxies([]), counters, log);
  const buffers = bufferLimits(config);
  const held = new HeldBytes({ connections, totalMax: buffers.totalBytesMax, counters, log });
  const encodings = new Encodings("/topics/");
  return new NativeFanOut({ connections, buffers, held, encodings, counters, log });
}

test("a subscriber that throws is ended, and the others get the message", () => {
  const fanOut = nativeFanOut();
  const calls: string[] = [];
  const subscriberOf = (name: string, deliver: () => void) => ({
    deliver,
    fail: (error: unknown) => calls.push(`${name} ends: ${String(error)}`),
  });
  const faulty = subscriberOf("one", () => {
    throw new Error("a fault");
  });
  const healthy = subscriberOf("other", () => calls.push("other is given it"));
  for (const subscriber of [faulty, healthy])
    fanOut.addDirect(new Subscription(topic, undefined), subscriber);
  fanOut.deliver(message);
  expect(calls).toEqual(["one ends: Error: a fault", "other is given it"]);
});

describe("the native topics of Bun", () => {
  /** A socket that leaves its topic when it is terminated, as the handler of a closed socket makes it leave. */
  function fakeSocket(native: NativeTopic): { socket: Socket; subscription: Subscription; calls: string[] } {
    const subscription = new Subscription(topic, undefined);
    const calls: string[] = [];
    const socket = {
      subscribe: () => calls.push("subscribe"),
      unsubscribe: () => calls.push("unsubscribe"),
      terminate: () => {
        calls.push("terminate");
        native.delete(subscription);
      },
    } as unknown as Socket;
    return { socket, subscription, calls };
  }

  test("are left by all sockets at once, and one that a message waits for is cut", () => {
    const native = new NativeTopic("name", 1024, 0);
    const [early, late] = [fakeSocket(native), fakeSocket(native)];
    native.add(early.socket, early.subscription);
    const deps = { sockets: () => native.sockets(), give: () => undefined, gave: () => undefined };
    native.deliverSliced(
      { frame: "waits", time: 0 },
      () => new SlicedDelivery({ ...deps, waitingBytesMax: 1024 }),
    );
    native.add(late.socket, late.subscription); // Its replay has given it that message.
    expect(native.detach()).toEqual([late.subscription]);
    expect(early.calls).toEqual(["subscribe", "terminate"]);
    expect(late.calls).toEqual(["subscribe", "unsubscribe"]);
  });

  test("are looked up at no server that has lost its last socket", () => {
    const fanOut = nativeFanOut();
    const asked: string[] = [];
    const serverOf = (name: string, pendingWebSockets: number) =>
      ({ pendingWebSockets, subscriberCount: () => asked.push(name) && 0 }) as unknown as Server<unknown>;
    fanOut.addServer(serverOf("replaced and empty", 0));
    fanOut.addServer(serverOf("replaced", 1));
    fanOut.addServer(serverOf("current", 1));
    const { socket, subscription } = fakeSocket(new NativeTopic("name", 1024, 0));
    fanOut.addSocket("raw", subscription, socket);
    fanOut.deliver(message);
    expect(asked).toEqual(["replaced", "current"]);
  });
});
