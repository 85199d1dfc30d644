/** How much of the past is kept, against a plain model of it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { SharedData } from "../../src/topic/draft.ts";
import { TopicLog, topicBytes } from "../../src/topic/log.ts";
import { type Message, retainedBytes } from "../../src/topic/message.ts";
import { type Droppable, type HistoryLimits, Retention } from "../../src/topic/retention.ts";
import { Random } from "../support/random.ts";

setDefaultTimeout(120_000);

const limits: HistoryLimits = {
  historyMessages: 100,
  historyAgeSeconds: 600,
  historyBytesMax: 1024 * 1024,
  retain: [],
};

/** Costs so little that what is measured is the cost of retention. */
class OneByte implements Droppable {
  readonly topic = "one";
  length = 1;

  dropFirst(): number {
    return this.length--;
  }

  dropBeyond(): number {
    return 0;
  }

  dropBefore(): number {
    return 0;
  }

  clampReceivedTimes(): void {}
}

describe("retention", () => {
  test("keeps at most the number of messages that a topic may have", () => {
    const { log, append, retention } = openLog({ historyMessages: 3 });
    for (let count = 1; count <= 10; count++) append(0, "x");
    expect([log.beginning, log.lastOffset]).toEqual([7, 10]);
    expect(retention.bytes).toBe(topicBytes("news") + 3 * retainedBytes(draft("x")));
  });

  test("of 0 messages keeps none, tells that the log is empty each time, and counts on", () => {
    const { log, append, retention, emptied } = openLog({ historyMessages: 0 });
    append(0, "x");
    append(0, "y");
    expect([log.length, log.lastOffset, retention.bytes]).toEqual([0, 2, 0]);
    expect(emptied).toEqual(["news", "news"]);
  });

  test("drops what is older than the age when a log grows, is read or is swept", () => {
    for (const how of ["appended", "refresh", "sweep"] as const) {
      const { log, append, retention } = openLog({ historyAgeSeconds: 10 });
      append(0, "old");
      append(5000, "young");
      const now = 10_001;
      if (how === "appended") append(now, "new");
      else if (how === "refresh") retention.refresh(log, now);
      else retention.sweep(now);
      expect(log.first?.data).toBe("young");
      const kept = how === "appended" ? ["young", "new"] : ["young"];
      const bytes = kept.reduce((sum, data) => sum + retainedBytes(draft(data)), topicBytes("news"));
      expect(retention.bytes).toBe(bytes);
    }
  });

  test("forgets a log with its bytes, once, and one that it never had not at all", () => {
    const { log, append, retention, emptied } = openLog({});
    append(0, "x");
    retention.forget(log);
    retention.forget(log);
    retention.forget(new TopicLog("other", { epoch: "e", offset: 0 }));
    expect(retention.bytes).toBe(0);
    expect(emptied).toEqual([]);
  });

  test("makes room at the same cost however many logs it has emptied before", () => {
    const logs = 200_000;
    let emptied = 0;
    const historyBytesMax = (logs / 2) * (topicBytes("one") + 1);
    const retention = new Retention({ ...limits, historyBytesMax }, () => void emptied++);
    const appendTo = (count: number): number => {
      const begun = process.cpuUsage();
      for (let number = 0; number < count; number++) retention.appended(new OneByte(), 1, 0);
      return process.cpuUsage(begun).user;
    };
    const first = appendTo(logs / 2);
    expect(emptied).toBe(0);
    const second = appendTo(logs / 2);
    expect(emptied).toBe(logs / 2);
    // Fifty times slower, where a Set with its first entries gone is read from the start each time.
    expect(second).toBeLessThan(5 * first + 500_000);
  });

  test("agrees with a plain model, whatever is appended, read, swept and forgotten", () => {
    for (let seed = 1; seed <= 300; seed++) agreeWithModel(seed);
  });
});

function agreeWithModel(seed: number): void {
  const random = new Random(seed);
  const given: HistoryLimits = {
    historyMessages: random.between(0, 6),
    historyAgeSeconds: random.between(1, 20),
    historyBytesMax: random.between(0, 30) * retainedBytes(draft("")),
    retain: [],
  };
  const emptied: Droppable[] = [];
  const retention = new Retention(given, (log) => void emptied.push(log));
  const logs = Array.from(
    { length: 6 },
    (_, index) => new TopicLog(String(index), { epoch: "e", offset: 0 }),
  );
  const model = new RetentionModel(given);
  let now = 0;

  for (let step = 0; step < 80; step++) {
    now += random.below(2000);
    const log = random.pick(logs);
    const action = random.below(12);
    if (action >= 10) {
      // One request to some of the topics.
      const data = `shared ${step} ${"x".repeat(random.below(300))}`;
      const shared = new SharedData(data.length);
      for (const each of new Set([log, random.pick(logs), random.pick(logs)])) {
        const message = { ...messageOf(each, now, data), shared };
        retention.appended(each, each.append(message), now);
        model.append(each, message, now);
      }
    } else if (action < 7) {
      const message = messageOf(log, now, "x".repeat(random.below(300)));
      retention.appended(log, log.append(message), now);
      model.append(log, message, now);
    } else if (action < 8) {
      retention.sweep(now);
      model.sweep(now);
    } else if (action < 9) {
      retention.refresh(log, now);
      model.refresh(log, now);
    } else {
      retention.forget(log);
      model.forget(log);
      logs[logs.indexOf(log)] = new TopicLog(log.topic, log.last);
    }
    const is = { seed, bytes: retention.bytes, emptied };
    expect(is).toEqual({ seed, bytes: model.bytes, emptied: model.emptied });
    for (const { log, kept } of model.entries) {
      const isSame = log.length === kept.length && kept.every((one) => log.next(one.offset - 1) === one);
      if (!isSame) throw new Error(`seed ${seed}: ${log.topic} does not have what the model has`);
    }
  }
}

interface ModelEntry {
  readonly log: TopicLog;
  kept: Message[];
}

/** Does the same as `Retention` with plain arrays. */
class RetentionModel {
  /** The one appended to longest ago first; none is empty. */
  entries: ModelEntry[] = [];
  readonly emptied: TopicLog[] = [];
  readonly #limits: HistoryLimits;

  constructor(limits: HistoryLimits) {
    this.#limits = limits;
  }

  get bytes(): number {
    let bytes = 0;
    const sharedHeld = new Set<string>();
    for (const { log, kept } of this.entries) {
      bytes += topicBytes(log.topic);
      for (const message of kept) {
        const isHeld = message.shared !== undefined && sharedHeld.has(message.data as string);
        bytes += retainedBytes(message) - (isHeld ? message.data.length : 0);
        if (message.shared) sharedHeld.add(message.data as string);
      }
    }
    return bytes;
  }

  append(log: TopicLog, message: Message, now: number): void {
    const entry = this.entries.find((other) => other.log === log) ?? { log, kept: [] };
    const kept = [...entry.kept, message];
    entry.kept = kept.slice(Math.max(0, kept.length - this.#limits.historyMessages));
    this.entries = [...this.entries.filter((other) => other !== entry), entry];
    this.#dropAged(entry, now);
    this.#removeIfEmpty(entry);
    for (let [coldest] = this.entries; coldest && this.bytes > this.#limits.historyBytesMax; ) {
      coldest.kept.shift();
      this.#removeIfEmpty(coldest);
      [coldest] = this.entries;
    }
  }

  sweep(now: number): void {
    for (let [coldest] = this.entries; coldest; [coldest] = this.entries) {
      this.#dropAged(coldest, now);
      if (coldest.kept.length > 0) break;
      this.#removeIfEmpty(coldest);
    }
  }

  refresh(log: TopicLog, now: number): void {
    const entry = this.entries.find((other) => other.log === log);
    if (!entry) return;
    this.#dropAged(entry, now);
    this.#removeIfEmpty(entry);
  }

  forget(log: TopicLog): void {
    this.entries = this.entries.filter((entry) => entry.log !== log);
  }

  #dropAged(entry: ModelEntry, now: number): void {
    const oldest = now - this.#limits.historyAgeSeconds * 1000;
    entry.kept = entry.kept.filter(({ time }) => time >= oldest);
  }

  #removeIfEmpty(entry: ModelEntry): void {
    if (entry.kept.length > 0) return;
    this.entries = this.entries.filter((other) => other !== entry);
    this.emptied.push(entry.log);
  }
}

test("each pattern's logs age on their own, and the coldest of all goes first past the bytes", () => {
  const emptied: string[] = [];
  const retain = [
    { pattern: "brief", messages: 9, ageSeconds: 10 },
    { pattern: "long", messages: 9, ageSeconds: 1000 },
  ];
  const given = { ...limits, historyBytesMax: 2000 + 3 * topicBytes("other"), retain };
  const retention = new Retention(given, ({ topic }) => void emptied.push(topic));
  const append = (topic: string, now: number, length: number): void => {
    const log = new TopicLog(topic, { epoch: "e", offset: 0 });
    const message = messageOf(log, now, "x".repeat(length));
    retention.appended(log, log.append(message), now);
  };
  append("long", 0, 300);
  append("brief", 1000, 1);
  append("other", 2000, 300);
  retention.sweep(20_000);
  expect(emptied).toEqual(["brief"]);
  append("brief", 20_000, 700);
  expect(emptied).toEqual(["brief"]);
  append("last", 21_000, 300);
  expect(emptied).toEqual(["brief", "long"]);
  append("last", 22_000, 200);
  expect(emptied).toEqual(["brief", "long", "other"]);
});

function openLog(given: Partial<HistoryLimits>) {
  const emptied: string[] = [];
  const retention = new Retention({ ...limits, ...given }, ({ topic }) => void emptied.push(topic));
  const log = new TopicLog("news", { epoch: "e", offset: 0 });
  const append = (now: number, data: string): void => {
    const message = messageOf(log, now, data);
    retention.appended(log, log.append(message), now);
  };
  return { retention, log, append, emptied };
}

const draft = (data: string) => ({ data, contentType: "text/plain" });

const messageOf = ({ topic, epoch, lastOffset }: TopicLog, time: number, data: string): Message => ({
  topic,
  epoch,
  offset: lastOffset + 1,
  time,
  ...draft(data),
});
