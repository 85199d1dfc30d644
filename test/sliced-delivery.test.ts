/** A topic's messages given to its sockets one by one: each socket gets each message once and in order, or is closed. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Socket } from "../src/connection/connection.ts";
import { type Frame, SlicedDelivery } from "../src/connection/sliced-delivery.ts";
import { Random } from "./support/random.ts";

setDefaultTimeout(120_000);

interface FakeSocket {
  readonly received: Frame[];
  /** The messages that were published before it became live; its replay has given it those. */
  readonly joinedAfter: number;
}

function stage(waitingBytesMax = 1024 * 1024) {
  const live = new Set<FakeSocket>();
  const sockets = (): Iterable<Socket> => live as Iterable<unknown> as Iterable<Socket>;
  const give = (socket: Socket, frame: Frame): void => {
    (socket as unknown as FakeSocket).received.push(frame);
  };
  const delivery = new SlicedDelivery({ sockets, give, gave: () => undefined, waitingBytesMax });
  let published = 0;
  return {
    delivery,
    live,
    join: (): FakeSocket => {
      const socket: FakeSocket = { received: [], joinedAfter: published };
      delivery.join(socket as unknown as Socket);
      live.add(socket);
      return socket;
    },
    publish: (bytes = 10): void => {
      delivery.push({ frame: `${published++} `.padEnd(bytes, "x"), time: 0 });
    },
    settled: async (): Promise<void> => {
      while (delivery.isBusy) await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

const numbersOf = ({ received }: FakeSocket): number[] =>
  received.map((frame) => Number.parseInt(String(frame), 10));

describe("a sliced delivery", () => {
  test("gives nothing in the turn in which it begins, and others are served between two slices", async () => {
    const { join, publish, settled } = stage();
    const sockets = Array.from({ length: 2000 }, join);
    publish();
    expect(sockets.every(({ received }) => received.length === 0)).toBe(true);
    const seen: number[] = [];
    const count = (): number => sockets.filter(({ received }) => received.length === 1).length;
    const watch = (): void => {
      seen.push(count());
      if (count() < sockets.length) setImmediate(watch);
    };
    setImmediate(watch);
    await settled();
    expect(count()).toBe(2000);
    expect(seen.some((given) => given > 0 && given < 2000)).toBe(true);
  });

  test("gives a socket that joins meanwhile only what is published after that", async () => {
    const { join, publish, settled } = stage();
    const early = join();
    publish();
    publish();
    const late = join();
    publish();
    await settled();
    expect([numbersOf(early), numbersOf(late)]).toEqual([[0, 1, 2], [2]]);
  });

  test("knows which sockets have not been given everything", async () => {
    const { delivery, join, publish, settled } = stage();
    const early = join() as unknown as Socket;
    publish();
    const late = join() as unknown as Socket;
    expect([delivery.owes(early), delivery.owes(late)]).toEqual([true, false]);
    publish();
    expect([delivery.owes(early), delivery.owes(late)]).toEqual([true, true]);
    await settled();
    expect([delivery.owes(early), delivery.owes(late)]).toEqual([false, false]);
  });

  test("makes a publisher wait where more than the limit is waiting", () => {
    const { delivery, join, publish } = stage(1000);
    const socket = join();
    for (let count = 0; count < 20; count++) publish(100);
    expect(numbersOf(socket).length).toBeGreaterThanOrEqual(10);
    expect(delivery.isBusy).toBe(true);
  });

  for (let seed = 1; seed <= 200; seed++) {
    test(`gives each live socket every message once and in order, whatever comes and goes: seed ${seed}`, async () => {
      const random = new Random(seed);
      const { live, join, publish, settled } = stage(random.pick([200, 100_000]));
      const ever: FakeSocket[] = [];
      let published = 0;
      for (let step = 0; step < 200; step++) {
        const action = random.below(10);
        if (action < 3) ever.push(join());
        else if (action < 6) {
          publish(random.between(10, 100));
          published++;
        } else if (action < 7 && live.size > 0) live.delete(random.pick([...live]));
        else if (action < 8) await new Promise((resolve) => setImmediate(resolve));
      }
      await settled();
      for (const socket of ever) {
        const numbers = numbersOf(socket);
        const expected = Array.from(
          { length: published - socket.joinedAfter },
          (_, index) => socket.joinedAfter + index,
        );
        // One that left has a beginning of it.
        expect(numbers).toEqual(live.has(socket) ? expected : expected.slice(0, numbers.length));
      }
    });
  }
});
