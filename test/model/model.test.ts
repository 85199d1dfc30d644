/**
 * The rules of docs/clustering.md, explored: test/model/ has servers, nodes, a topic and a client, and everything that can happen
 * to them. `bun run model` visits every state of a larger size, and `bun run fuzz model` takes other random ways.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Violation } from "./actions.ts";
import { audit } from "./audit.ts";
import { explore } from "./explore.ts";
import { type Rules, rules } from "./scripts.ts";
import { coursesOf, goWay, holesOfVersion01, waysWithout } from "./sizes.ts";
import { walk } from "./walk.ts";

setDefaultTimeout(120_000);

test("every state of two servers, two nodes, two messages and one fault keeps what is promised", () => {
  for (const course of coursesOf(2, 1)) {
    const { states, broken } = explore(course);
    expect({ setting: course.setting, broken }).toEqual({ setting: course.setting, broken: undefined });
    expect(states).toBeGreaterThan(200);
  }
});

test("states that count as one cannot be told apart by what can follow", () => {
  for (const course of coursesOf(2, 1)) {
    const { pairs, differing } = audit(course);
    expect({ setting: course.setting, differing }).toEqual({ setting: course.setting, differing: undefined });
    expect(pairs).toBeGreaterThan(50);
  }
});

test("random ways through three servers, three nodes and six faults keep it, too", () => {
  for (let seed = 1; seed <= 200; seed++) walk(seed, rules);
});

describe("the rules of version 0.1 break it:", () => {
  for (const { name, words, course, way } of holesOfVersion01)
    test(name, () =>
      expect(explore(course).broken).toEqual({ words: expect.stringContaining(words), trace: way.trace }),
    );
});

describe("it is broken without the rule", () => {
  for (const rule of Object.keys(rules) as (keyof Rules)[])
    test(rule, () => {
      const way = waysWithout[rule];
      expect(() => goWay(way, { ...rules, [rule]: false })).toThrow(Violation);
      goWay(way, rules);
    });
});
