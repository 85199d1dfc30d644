/** What a node publishes to Redis in one call, and what it makes of the answers, without Redis. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Appends, type AppendsDeps } from "../../../src/engine/redis/appends.ts";
import { RedisKeys } from "../../../src/engine/redis/keys.ts";
import type { Argument, Reply } from "../../../src/engine/redis/link.ts";
import type { Primary } from "../../../src/engine/redis/primary.ts";
import type { Claim, Testimony } from "../../../src/engine/redis/testimony.ts";
import { BrokerUnavailable, type Publication } from "../../../src/topic/broker.ts";
import type { Feed } from "../../../src/topic/feed.ts";
import { formatId } from "../../../src/topic/message.ts";
import { failureOf, text } from "../contract/messages.ts";

setDefaultTimeout(120_000);

/** A number that the values of a call have once for each publication, and nothing else has. */
const historyMessages = 7777;

const limits: AppendsDeps["limits"] = {
  ...{ historyMessages, historyAgeSeconds: 600, historyBytesMax: 0, retain: [] },
  ...{ keyed: [], keysMax: 1, feeds: [] },
};

const twoFeeds: readonly Feed[] = ["feed", "another feed"].map((topic) => ({ pattern: "news", topic }));

const done = "epoch 1 -";

/** @param answersOf what Redis answers to so many publications; undefined for no answer yet */
function stage(
  answersOf: (publications: number) => readonly string[] | undefined,
  feeds: readonly Feed[] = [],
) {
  const calls: number[] = [];
  const values: Argument[] = [];
  const claims: Claim[] = [];
  const testified: string[] = [];
  const generations: number[] = [];
  const script = (_name: string, _keys: readonly string[], given: readonly Argument[]): Promise<Reply> => {
    values.push(...given);
    const publications = given.filter(
      (value) =>
        typeof value === "string" && value.startsWith(`${historyMessages} `) && !value.endsWith(" feed"),
    ).length;
    calls.push(publications);
    const answers = answersOf(publications);
    const { promise, resolve } = Promise.withResolvers<Reply>();
    if (answers) resolve(["5 replid 9", ...answers].join("\n"));
    return promise;
  };
  const primary: Pick<Primary, "script" | "acknowledged" | "acknowledgedIn"> = {
    script,
    acknowledged: (append) => append(),
    acknowledgedIn: (generation) => void generations.push(generation),
  };
  const testimony: Pick<Testimony, "acknowledged" | "claimed"> = {
    acknowledged: (topic, position) => void (position && testified.push(`${topic} ${formatId(position)}`)),
    claimed: (claim) => void claims.push(claim),
  };
  const appends = new Appends({
    ...{ limits: { ...limits, feeds }, keys: new RedisKeys("longwire", 0) },
    ...{ primary: primary as Primary, testimony: testimony as Testimony },
  });
  const publish = (publication: Publication) => appends.publish("news", publication);
  return { publish, calls, values, claims, testified, generations };
}

const allDone = (publications: number): string[] => Array(publications).fill(done);

const one: Publication = { drafts: [text("one")] };

const many = (count: number, publication: Publication): Publication[] => Array(count).fill(publication);

describe("the publications of one turn share calls", () => {
  test("of at most 128 messages", async () => {
    const { publish, calls } = stage(allDone);
    await Promise.all(many(300, one).map(publish));
    expect(calls).toEqual([128, 128, 44]);
  });

  test("in which an end alone counts as a message", async () => {
    const { publish, calls } = stage(allDone);
    await Promise.all(many(129, { drafts: [], end: true }).map(publish));
    expect(calls).toEqual([128, 1]);
  });

  test("in which a message counts once more for each feed, and its bytes, too", async () => {
    const { publish, calls } = stage(allDone, twoFeeds);
    await Promise.all(many(100, one).map(publish));
    expect(calls).toEqual([42, 42, 16]);
    await Promise.all(many(3, { drafts: [text("x".repeat(40_000))] }).map(publish));
    expect(calls.slice(3)).toEqual([2, 1]);
  });

  test("of at most 256 KiB, unless one publication has more", async () => {
    const { publish, calls } = stage(allDone);
    const [large, larger] = [100_000, 300_000].map((length) => ({ drafts: [text("x".repeat(length))] }));
    if (!large || !larger) throw new Error("there are two");
    await Promise.all([large, large, large, larger, one].map(publish));
    expect(calls).toEqual([2, 1, 1, 1]);
  });
});

describe("publications that wait for Redis are bounded:", () => {
  test("past 10,000 one is refused, until some are answered", async () => {
    const { publish } = stage(allDone);
    const waiting = many(10_000, one).map(publish);
    expect(await failureOf(publish(one))).toBeInstanceOf(BrokerUnavailable);
    await Promise.all(waiting);
    await publish(one);
  });

  test("past 64 MiB one is refused, until some are answered", async () => {
    const { publish } = stage(allDone);
    const large: Publication = {
      drafts: [{ data: new Uint8Array(25 * 1024 * 1024), contentType: "image/png" }],
    };
    const waiting = [large, large].map(publish);
    expect(await failureOf(publish(large))).toBeInstanceOf(BrokerUnavailable);
    await Promise.all(waiting);
    await publish(large);
  });

  test("a message counts once, whatever the number of its feeds: it is sent once", async () => {
    const { publish } = stage(allDone, twoFeeds);
    await publish({ drafts: [text("x".repeat(30 * 1024 * 1024))] });
  });
});

test("where Redis answers fewer publications than there were, the outcome of all is unknown", async () => {
  const { publish, claims } = stage((publications) => allDone(publications - 1));
  const failures = await Promise.all(many(3, one).map((publication) => failureOf(publish(publication))));
  for (const failure of failures) expect(String(failure)).toContain("3 publications with 2 answers");
  expect(claims).toEqual([]);
});

test("a call says how far Redis has come only if something of it was written", async () => {
  const refused = "ERROR OOM command not allowed";
  const { publish, claims, generations } = stage((publications) =>
    publications === 2 ? [refused, refused] : [refused, done, refused],
  );
  const outcomes = (count: number) =>
    Promise.all(many(count, one).map((publication) => failureOf(publish(publication))));
  for (const failure of await outcomes(2)) expect(failure).toBeInstanceOf(BrokerUnavailable);
  expect([claims, generations]).toEqual([[], []]);
  await outcomes(3);
  expect(claims).toEqual([{ generation: 5, replid: "replid", offset: 9 }]);
  expect(generations).toEqual([5]);
});

test("a publication testifies to what it gave its topic and each feed, and a repetition to its topic alone", async () => {
  const { publish, testified } = stage(() => ["epoch 2 3 one 7 - other 9 -"], twoFeeds);
  await publish({ drafts: [text("one")], end: true });
  expect(testified).toEqual(["news epoch-3", "feed one-7", "another feed other-9"]);
  const repetition = stage(allDone, twoFeeds);
  await repetition.publish(one);
  expect(repetition.testified).toEqual(["news epoch-1"]);
});

test("the name of a stream's writer reaches the script as one word", async () => {
  const { publish, values } = stage(allDone);
  const step = { once: { key: "key", publisher: "p" }, writer: "a b\nc", items: 1, digest: "digest" };
  await publish({ drafts: [text("one")], step });
  expect(values).toContain("a%20b%0Ac");
});
