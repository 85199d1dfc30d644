/** `kill -9` under load. The same for longer: `bun run fuzz kills --minutes 20`. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { runKeyedKills } from "../../support/keyed-kills.ts";
import { emptyKillTally, runKills } from "../../support/kills.ts";
import { Random, seed } from "../../support/random.ts";

setDefaultTimeout(120_000);

async function run(historyMessages: number) {
  const tally = emptyKillTally();
  await runKills({ random: new Random(seed), kills: 5, historyMessages, tally });
  return tally;
}

test("kills lose no acknowledged message, in its topic and in the feed, double none, and are no gap", async () => {
  const { acknowledged, kills, returns, repeats, gaps } = await run(1_000_000);
  expect(kills).toBe(5);
  expect(acknowledged).toBeGreaterThan(100);
  expect(returns).toBeGreaterThanOrEqual(6 * 5); // Each of the followers, after each kill.
  expect(repeats).toBeGreaterThan(0);
  expect(gaps).toBe(0);
});

test("kills while retention deletes lose no message that is still retained", async () => {
  const { acknowledged, kills } = await run(20);
  expect(kills).toBe(5);
  expect(acknowledged).toBeGreaterThan(100);
});

test("after kills a key of a keyed topic has what was acknowledged last, or something later", async () => {
  const { acknowledged } = await runKeyedKills(new Random(seed), 2);
  expect(acknowledged).toBeGreaterThanOrEqual(80);
});
