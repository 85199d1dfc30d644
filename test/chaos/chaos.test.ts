/** The chaos of `bun run chaos` for some seconds, and that its checker finds fault where there is one. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { lacks } from "../support/tool.ts";
import { until } from "../support/wait.ts";
import { Checker, type View } from "./checker.ts";
import { runChaos } from "./run.ts";
import { Troubles } from "./troubles.ts";

setDefaultTimeout(120_000);

for (const isLossless of [false, true])
  test.skipIf(lacks("redis-server"))(
    `a cluster${isLossless ? " with lossless failovers" : ""} keeps its promise while everything fails`,
    async () => {
      const happened: string[] = [];
      const run = { seed: 1, seconds: Number.POSITIVE_INFINITY, eventsMax: 3 };
      const load = { followers: 1, publishers: 1, pauseTimes: 8, people: 4 };
      const tally = await runChaos({ ...run, ...load, isLossless, log: (line) => void happened.push(line) });
      console.log(`    ${happened.join(", ")}: ${JSON.stringify(tally)}`);
      expect(tally.acknowledged).toBeGreaterThan(30);
      expect(tally.streams).toBeGreaterThan(0);
      expect(tally.returns).toBeGreaterThan(12); // More than one connection of each follower.
    },
  );

describe("the checker finds", () => {
  const finished = (run: (checker: Checker) => void): (() => void) => {
    const checker = new Checker();
    checker.losses = 1;
    return () => {
      run(checker);
      checker.finish();
    };
  };

  /** A client that was given messages: ids and bodies. */
  const viewed = (checker: Checker, ...messages: readonly (readonly [id: string, body: string])[]): View => {
    const view = checker.view("news");
    for (const [id, body] of messages) view.message(id, body);
    return view;
  };

  test("an id that was given to two messages", () => {
    expect(
      finished((checker) => {
        checker.acknowledged("news", "k-1", "one");
        viewed(checker, ["k-1", "other"]);
      }),
    ).toThrow('news k-1 was given to "one" and to "other"');
  });

  test("a message that came out of order, or of another past, without a gap", () => {
    for (const [from, to] of [
      ["k-2", "k-2"],
      ["k-2", "k-1"],
      ["k-2", "p-3"],
    ] as const)
      expect(finished((checker) => viewed(checker, [from, "one"], [to, "other"]))).toThrow("without a gap");
  });

  test("an acknowledged message that was skipped, also if it was acknowledged later", () => {
    const skipping = (id: string) =>
      finished((checker) => {
        viewed(checker, ["k-1", "one"], ["k-3", "three"]);
        checker.acknowledged("news", id, "skipped");
      });
    expect(skipping("k-2")).toThrow("without a gap");
    expect(skipping("k-4")).not.toThrow();
  });

  test("a publisher's message that was skipped, repeated, or is missing at the end, unless a gap was told", () => {
    const following = (isTold: boolean, number: number) =>
      finished((checker) => {
        const view = viewed(checker, ["k-1", "publisher/7"]);
        if (isTold) view.gap("p-1");
        view.message(isTold ? "p-2" : "k-2", `publisher/${number}`);
      });
    expect(following(false, 8)).not.toThrow();
    expect(following(false, 9)).toThrow("without a gap");
    expect(following(false, 7)).toThrow("without a gap");
    expect(following(true, 9)).not.toThrow();
    const ending = (last: number) =>
      finished((checker) => {
        checker.published("news", `publisher/${last}`);
        viewed(checker, ["k-1", "publisher/7"]).finish();
      });
    expect(ending(7)).not.toThrow();
    expect(ending(8)).toThrow("has nothing of publisher after 7");
  });

  test("a message that comes again after a gap, unless it was lost before its publisher was answered", () => {
    const again = (acknowledged: string) =>
      finished((checker) => {
        const view = viewed(checker, ["k-5", "publisher/7"]);
        view.gap("p-4");
        view.message("p-5", "publisher/7");
        checker.acknowledged("news", acknowledged, "publisher/7");
      });
    expect(again("k-5")).toThrow("twice");
    expect(again("p-5")).not.toThrow();
  });

  test("the same, unless it has an id of an epoch of which the server has never heard", () => {
    const returning = (known: readonly string[], isAskedFirst: boolean) =>
      finished((checker) => {
        const view = viewed(checker, ["k-5", "publisher/7"]);
        checker.acknowledged("news", "k-5", "publisher/7");
        if (isAskedFirst) checker.serves("news", known);
        view.gap("p-4");
        view.message("p-5", "publisher/7");
        checker.serves("news", isAskedFirst ? ["k", "p"] : known);
        checker.serves("news", ["p"]); // A later server that has heard of nothing explains nothing.
      });
    for (const isAskedFirst of [false, true]) {
      expect(returning(["p"], isAskedFirst)).not.toThrow();
      expect(returning(["k", "p"], isAskedFirst)).toThrow("twice");
    }
  });

  test("a gap within an epoch, unless it follows a message that was not acknowledged", () => {
    const told = (id: string) =>
      finished((checker) => {
        checker.acknowledged("news", "k-1", "one");
        viewed(checker, [id, "one"]).gap("k-9");
      });
    expect(told("k-1")).toThrow("nothing was lost");
    expect(told("k-3")).not.toThrow();
  });

  test("an epoch that began without a possible loss", () => {
    const begun = (losses: number) =>
      finished((checker) => {
        checker.losses = losses;
        viewed(checker, ["k-1", "one"]).gap("p-1");
      });
    expect(begun(0)).toThrow("2 epochs");
    expect(begun(1)).not.toThrow();
  });

  test("a 503 that nothing explains", () => {
    const troubles = new Troubles();
    const checker = new Checker(troubles);
    const refuse = (what: "publication" | "read", laterMilliseconds = 0) =>
      checker.refused(what, performance.now() + laterMilliseconds, "");
    expect(() => refuse("read")).toThrow("before anything happened");
    const end = troubles.begin("Redis is full", "publications");
    refuse("publication");
    expect(() => refuse("read")).toThrow("a read was asked for");
    end();
    refuse("publication");
    expect(() => refuse("publication", 3500)).toThrow('3.5 s after "Redis is full" was over');
  });

  test("no 503 while an answer of the primary or a node is late, though it has not come yet", async () => {
    const troubles = new Troubles();
    using _watch = troubles.watch(() => new Promise(() => undefined));
    const laterMilliseconds = 10_000; // What is over explains nothing by then.
    await until(
      () => troubles.explain("read", performance.now() + laterMilliseconds) === undefined,
      "the late answer to be noted",
    );
  });
});
