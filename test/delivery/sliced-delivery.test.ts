/** A topic's messages given to its readers one by one: each reader gets each message once and in order. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Frame } from "../../src/delivery/frame.ts";
import { type FramedMessage, SlicedDelivery } from "../../src/delivery/sliced-delivery.ts";
import { nextTurn } from "../../src/next-turn.ts";
import { Random } from "../support/random.ts";

setDefaultTimeout(120_000);

interface FakeReader {
  readonly received: Frame[];
  /** The messages that were published before it became live; its replay has given it those. */
  readonly joinedAfter: number;
}

const framed = (frame: string): FramedMessage => ({
  message: { topic: "news", epoch: "a", offset: 1, time: 0, contentType: "text/plain", data: frame },
  frame,
  bytes: frame.length,
  allBytes: frame.length,
});

function stage(waitingBytesMax = 1024 * 1024) {
  const live = new Set<FakeReader>();
  const given = { hasRoom: true };
  const delivery = new SlicedDelivery<FakeReader>({
    readers: () => live,
    hasRoom: () => given.hasRoom,
    give: (reader, { frame }) => void reader.received.push(frame),
    gave: () => undefined,
    waitingBytesMax,
  });
  let published = 0;
  return {
    delivery,
    given,
    live,
    join: (): FakeReader => {
      const reader: FakeReader = { received: [], joinedAfter: published };
      delivery.join(reader);
      live.add(reader);
      return reader;
    },
    publish: (bytes = 10): void => {
      delivery.push(framed(`${published++} `.padEnd(bytes, "x")));
    },
    settled: async (): Promise<void> => {
      while (delivery.isBusy) await nextTurn();
    },
  };
}

const numbersOf = ({ received }: FakeReader): number[] =>
  received.map((frame) => Number.parseInt(String(frame), 10));

describe("a sliced delivery", () => {
  test("gives nothing in the turn in which it begins, and others are served between two slices", async () => {
    const { join, publish, settled } = stage();
    const readers = Array.from({ length: 2000 }, join);
    publish(64 * 1024);
    expect(readers.every(({ received }) => received.length === 0)).toBe(true);
    const seen: number[] = [];
    const count = (): number => readers.filter(({ received }) => received.length === 1).length;
    const watch = (): void => {
      seen.push(count());
      if (count() < readers.length) setImmediate(watch);
    };
    setImmediate(watch);
    await settled();
    expect(count()).toBe(2000);
    expect(seen.some((given) => given > 0 && given < 2000)).toBe(true);
  });

  test("gives a reader that joins meanwhile only what is published after that", async () => {
    const { join, publish, settled } = stage();
    const early = join();
    publish();
    publish();
    const late = join();
    publish();
    await settled();
    expect([numbersOf(early), numbersOf(late)]).toEqual([[0, 1, 2], [2]]);
  });

  test("knows which readers have not been given everything", async () => {
    const { delivery, join, publish, settled } = stage();
    const early = join();
    publish();
    const late = join();
    expect([delivery.owes(early), delivery.owes(late)]).toEqual([true, false]);
    publish();
    expect([delivery.owes(early), delivery.owes(late)]).toEqual([true, true]);
    await settled();
    expect([delivery.owes(early), delivery.owes(late)]).toEqual([false, false]);
  });

  test("makes publishers wait while more than the limit waits", async () => {
    const { delivery, join, publish, settled } = stage(1000);
    const reader = join();
    for (let count = 0; count < 10; count++) publish(100);
    expect(delivery.room).toBeUndefined();
    for (let count = 0; count < 10; count++) publish(100);
    const room = delivery.room as Promise<void>;
    let received = 0;
    void room.then(() => {
      received = numbersOf(reader).length;
    });
    await room;
    expect(received).toBe(10);
    expect(delivery.room).toBeUndefined();
    await settled();
    expect(numbersOf(reader)).toHaveLength(20);
  });

  test("gives nothing while there is no room, and everything once there is", async () => {
    const { given, join, publish, settled } = stage();
    const reader = join();
    given.hasRoom = false;
    publish();
    for (let turn = 0; turn < 5; turn++) await nextTurn();
    expect(numbersOf(reader)).toEqual([]);
    given.hasRoom = true;
    await settled();
    expect(numbersOf(reader)).toEqual([0]);
  });

  for (let seed = 1; seed <= 200; seed++) {
    test(`gives each live reader every message once and in order, whatever comes and goes: seed ${seed}`, async () => {
      const random = new Random(seed);
      const { live, join, publish, settled } = stage(random.pick([200, 100_000]));
      const ever: FakeReader[] = [];
      let published = 0;
      for (let step = 0; step < 200; step++) {
        const action = random.below(10);
        if (action < 3) ever.push(join());
        else if (action < 6) {
          publish(random.between(10, 100));
          published++;
        } else if (action < 7 && live.size > 0) live.delete(random.pick([...live]));
        else if (action < 8) await nextTurn();
      }
      await settled();
      for (const reader of ever) {
        const numbers = numbersOf(reader);
        const expected = Array.from(
          { length: published - reader.joinedAfter },
          (_, index) => reader.joinedAfter + index,
        );
        // One that left has a beginning of it.
        expect(numbers).toEqual(live.has(reader) ? expected : expected.slice(0, numbers.length));
      }
    });
  }
});
