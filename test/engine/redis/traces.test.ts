/**
 * The scripts do on real Redis servers what the model says that they do: answers and everything that is stored are compared after
 * each step of a trace. Those that show that a rule is needed, those that broke version 0.1, and some random ones;
 * `bun run fuzz traces` takes others.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { replay, replayWalk } from "../../model/replay.ts";
import { holesOfVersion01, waysWithout } from "../../model/sizes.ts";
import { lacks } from "../../support/tool.ts";

setDefaultTimeout(120_000);

describe.skipIf(lacks("redis-server"))("the scripts do what the model does", () => {
  const named = [
    ...Object.entries(waysWithout).map(([rule, way]) => ({
      name: `where the rule "${rule}" is needed`,
      way,
    })),
    ...holesOfVersion01.map(({ name, way }) => ({ name: `after ${name}`, way })),
  ];
  // Some of them are the same way.
  for (const [way, names] of Map.groupBy(named, ({ way }) => way))
    test(names.map(({ name }) => name).join(", and "), async () => {
      expect(await replay(way)).toBeGreaterThan(10);
    });

  test("on random ways", async () => {
    let compared = 0;
    for (let seed = 1; seed <= 3; seed++) compared += await replayWalk(seed);
    expect(compared).toBeGreaterThan(300);
  });
});
