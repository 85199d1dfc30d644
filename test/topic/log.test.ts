/** One topic's bounded log, against a plain array. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { TopicLog } from "../../src/topic/log.ts";
import { type Message, type Position, retainedBytes } from "../../src/topic/message.ts";
import { Random } from "../support/random.ts";

setDefaultTimeout(120_000);

const wholePage = { messagesMax: 1000, bytesMax: 1024 * 1024 };

const messageOf = ({ epoch, offset }: Position, time = 0, data = "x"): Message => ({
  topic: "news",
  epoch,
  offset,
  time,
  contentType: "text/plain",
  data,
});

function logOf(count: number, from = 0): TopicLog {
  const log = new TopicLog("news", { epoch: "e", offset: from });
  for (let index = 1; index <= count; index++) log.append(messageOf({ epoch: "e", offset: from + index }));
  return log;
}

describe("a topic's log", () => {
  test("begins empty, at the position that it continues after", () => {
    const log = new TopicLog("news", { epoch: "e", offset: 7 });
    expect(log.last).toEqual({ epoch: "e", offset: 7 });
    expect([log.length, log.beginning]).toEqual([0, 7]);
    expect(log.first).toBeUndefined();
    expect(log.next(6)).toBeUndefined();
    expect(log.dropFirst()).toBe(0);
  });

  test("takes the next message only", () => {
    const log = logOf(2);
    for (const wrong of [
      { epoch: "e", offset: 2 },
      { epoch: "e", offset: 4 },
      { epoch: "e", offset: 0 },
      { epoch: "f", offset: 3 },
    ]) {
      expect(() => log.append(messageOf(wrong))).toThrow("the log of news ends at e-2");
    }
    log.append(messageOf({ epoch: "e", offset: 3 }));
    expect(log.lastOffset).toBe(3);
  });

  test("keeps its position when all its messages are dropped", () => {
    const log = logOf(3);
    log.dropBeyond(0);
    expect(log.last).toEqual({ epoch: "e", offset: 3 });
    expect([log.length, log.beginning]).toEqual([0, 3]);
    log.append(messageOf({ epoch: "e", offset: 4 }));
    expect(log.next(3)?.offset).toBe(4);
  });

  test("remembers when the last dropped message was published", () => {
    const log = new TopicLog("news", { epoch: "e", offset: 0 });
    expect(log.droppedTime).toBe(Number.NEGATIVE_INFINITY);
    for (const [index, time] of [10, 20, 30].entries())
      log.append(messageOf({ epoch: "e", offset: index + 1 }, time));
    log.dropBefore(20);
    expect([log.droppedTime, log.beginning]).toEqual([10, 1]);
    log.dropFirst();
    expect([log.droppedTime, log.beginning]).toEqual([20, 2]);
  });

  test("lets go of the messages that it drops", async () => {
    const log = new TopicLog("news", { epoch: "e", offset: 0 });
    const dropped: WeakRef<Message>[] = [];
    for (let offset = 1; offset <= 1000; offset++) {
      const message = messageOf({ epoch: "e", offset });
      dropped.push(new WeakRef(message));
      log.append(message);
    }
    log.dropBeyond(990);
    // A WeakRef holds on to what it was made for until the task that made it ends.
    await new Promise((resolve) => setImmediate(resolve));
    Bun.gc(true);
    const gone = dropped.slice(0, 10).filter((reference) => reference.deref() === undefined);
    expect(gone.length).toBeGreaterThan(5);
    expect(log.length).toBe(990);
  });

  test("agrees with a plain array, whatever is appended, dropped and looked up", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new Random(seed);
      const start = random.below(5);
      const log = new TopicLog("news", { epoch: "e", offset: start });
      const ever: Message[] = [];
      let kept: Message[] = [];
      let time = 0;
      for (let step = 0; step < 150; step++) {
        const bytesBefore = bytesOf(kept);
        const action = random.below(12);
        if (action < 8) {
          time += random.below(3);
          const position = { epoch: "e", offset: start + ever.length + 1 };
          const message = messageOf(position, time, "x".repeat(random.below(20)));
          expect(log.append(message)).toBe(retainedBytes(message));
          ever.push(message);
          kept.push(message);
        } else {
          const countMax = random.below(40);
          const before = random.below(time + 2);
          const given =
            action < 10 ? log.dropFirst() : action < 11 ? log.dropBeyond(countMax) : log.dropBefore(before);
          if (action < 10) kept = kept.slice(1);
          else if (action < 11) kept = kept.slice(Math.max(0, kept.length - countMax));
          else kept = kept.filter((message) => message.time >= before);
          expect(given).toBe(bytesBefore - bytesOf(kept));
        }
        expect(log.length).toBe(kept.length);
        expect(log.lastOffset).toBe(start + ever.length);
        expect(log.first).toBe(kept[0] as Message);
        const dropped = ever[ever.length - kept.length - 1];
        expect(log.droppedTime).toBe(dropped?.time ?? Number.NEGATIVE_INFINITY);
        const offset = random.below(start + ever.length + 3);
        expect(log.next(offset)).toBe(kept.find((message) => message.offset === offset + 1) as Message);
        const since = random.below(time + 3);
        const after = log.read({ kind: "time", time: since }, wholePage, 0).from.offset;
        expect(kept.filter((message) => message.offset > after)).toEqual(
          kept.filter((message) => message.time >= since),
        );
      }
    }
  });
});

const bytesOf = (messages: readonly Message[]): number =>
  messages.reduce((sum, message) => sum + retainedBytes(message), 0);
