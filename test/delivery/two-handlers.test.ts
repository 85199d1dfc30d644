/** Two Longwire handlers in one `Bun.serve` have nothing in common: no sockets, no topics, no limits. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import { openWs } from "../support/clients.ts";
import { Random } from "../support/random.ts";
import { root, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { starve } from "../support/starvation.ts";
import { openTopic, publish } from "../support/topics.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const program = resolve(root, "test/support/two-handlers.ts");

for (const order of ["narrow.websocket(roomy.websocket())", "roomy.websocket(narrow.websocket())"] as const) {
  describe(order, () => {
    const flags = order.startsWith("roomy") ? ["--roomy-first"] : [];
    const server = sharedServer(flags, { command: [process.execPath, program] });

    test("delivers a message to the subscribers of its own handler only", async () => {
      using one = await openTopic(server, "news");
      using other = await openTopic(server, "../roomy/topics/news");
      one.send("in one");
      other.send("in the other");
      expect(await one.next()).toBe("in one");
      expect(await other.next()).toBe("in the other");
      await publish(server, "news", "in one again");
      await publish(server, "../roomy/topics/news", "in the other again");
      expect(await one.next()).toBe("in one again");
      expect(await other.next()).toBe("in the other again");
    });

    test("holds each socket to the limits of its own handler", async () => {
      const message = "x".repeat(20 * KiB);
      for (const path of ["/ping", "/topics/limits"]) {
        using narrow = await openWs(server.socketUrl(path));
        narrow.send(message);
        expect((await within(narrow.closed, "a close")).code).toBe(1009);
        using roomy = await openWs(server.socketUrl(`/roomy${path}`));
        roomy.send(message);
        expect(await roomy.next()).toBe(message);
      }
    });

    test("cuts the slow readers of the handler with the narrow limit before they would miss a message", async () => {
      const { holes, cuts } = await starve({
        server,
        topic: "busy",
        readers: Array.from({ length: 24 }, (_, index) => (index % 2 === 0 ? "raw" : "cloudevents")),
        random: new Random(20_261_123),
        bytes: (random) => random.between(20, 2000),
        enough: (seen) => seen.cuts >= 24,
      });
      expect(holes).toEqual([]);
      expect(cuts).toBeGreaterThanOrEqual(24);
    });

    test("drains one handler and leaves the sockets of the other open", async () => {
      using narrow = await openTopic(server, "news");
      using roomy = await openTopic(server, "../roomy/topics/news");
      const drained = await fetch(new URL("/drain", server.url), { method: "POST" });
      expect((await within(narrow.closed, "a close")).code).toBe(1012);
      expect(await drained.text()).toBe("drained");
      roomy.send("still open");
      expect(await roomy.next()).toBe("still open");
      expect((await fetch(new URL("/topics/news", server.url))).status).toBe(200);
      await expect(openTopic(server, "news")).rejects.toThrow("503");
    });

    test("logs no fault", () => {
      expect(server.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
    });
  });
}

test("a handler that was not given to websocket() closes its sockets with 1011, and the log says what to do", async () => {
  await using server = await spawnServer(["--narrow-only"], { command: [process.execPath, program] });
  using roomy = await openWs(server.socketUrl("/roomy/ping"));
  expect((await within(roomy.closed, "a close")).code).toBe(1011);
  await server.logged("one.websocket(other.websocket())");
  using narrow = await openWs(server.socketUrl());
  narrow.send("ping");
  expect(await narrow.next()).toBe("pong");
});
