/** The scenes of `bun run presence`, with fewer people and nodes, and a shorter stop. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { lacks } from "../support/tool.ts";
import { runDeploy, runTroubles } from "./scene.ts";

setDefaultTimeout(120_000);

describe.skipIf(lacks("redis-server")).concurrent("who is here, at the nodes of one Redis", () => {
  const options = { seed: 1, people: 20, log: () => undefined };

  test("is true after a node was killed, one has stood still past its lease and one was drained", async () => {
    const { lines, connections, leaves } = await runTroubles({
      ...options,
      stoppedSeconds: 13,
      flapPauseMilliseconds: 200,
    });
    expect(lines).toBeGreaterThan(options.people);
    expect(connections).toBeGreaterThan(1);
    expect(leaves).toBeGreaterThan(0);
  });

  test("does not change in a deploy of all of them", async () => {
    const { lines, leaves } = await runDeploy({ ...options, nodes: 2 });
    expect(lines).toBeGreaterThan(options.people);
    expect(leaves).toBe(0);
  });
});
