/** How nodes add up the subscribers of a topic, without a server: Redis only carries their questions and answers. */
import { expect, test } from "bun:test";
import { Counts } from "../../../src/engine/redis/counts.ts";
import { RedisKeys } from "../../../src/engine/redis/keys.ts";

/** Nodes that hear each question, also their own, before it is known how many heard it. */
function nodesWith(subscribers: readonly Readonly<Record<string, number>>[]): readonly Counts[] {
  const keys = new RedisKeys("test", 0);
  const names = subscribers.map((_, index) => `node-${index}`);
  const nodes: Counts[] = subscribers.map((counts, index) => {
    const publish = async (channel: string, message: string): Promise<number> => {
      const content = Buffer.from(message);
      if (channel === keys.ask) for (const node of nodes) node.asked(content);
      else nodes[names.findIndex((name) => keys.node(name) === channel)]?.answered(content);
      return nodes.length;
    };
    return new Counts({
      node: names[index] ?? "",
      keys,
      publish,
      subscriberCount: (topic) => counts[topic] ?? 0,
    });
  });
  return nodes;
}

test("a count is the sum of all nodes, each counted once", async () => {
  const nodes = nodesWith([{ news: 1 }, { news: 2, other: 5 }, { news: 40 }]);
  for (const node of nodes) expect(await node.of(["news", "other", "none"])).toEqual([43, 5, 0]);
});
