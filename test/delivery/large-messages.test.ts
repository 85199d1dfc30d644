/** A message that is large, or that grows in a form, cuts no reader that had caught up. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type RunningServer, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import {
  type Form,
  noSightings,
  numbered,
  type Sightings,
  SlowReader,
  forms as slowForms,
} from "../support/slow-reader.ts";
import { newTopic, openEvents, openStream, openTopic, post, publish } from "../support/topics.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const MiB = 1024 * 1024;

/** What becomes of a byte in a form: six of JSON, seven of an event stream, four thirds of base64. */
const contents: Readonly<Record<string, { readonly text: string; readonly type: string }>> = {
  "control characters": { text: "\u0001", type: "text/plain" },
  "line feeds": { text: "\n", type: "text/plain" },
  letters: { text: "x", type: "text/plain" },
  bytes: { text: "\u0001", type: "application/octet-stream" },
};

/** Each opens a reader and returns how it takes the next message, as a length. */
const forms: Readonly<
  Record<string, (server: RunningServer, topic: string) => Promise<() => Promise<unknown>>>
> = {
  raw: async (server, topic) => {
    const client = await openTopic(server, topic);
    return async () => (await client.next()).length;
  },
  "cloudevents.json": async (server, topic) => {
    const client = await openEvents(server, topic);
    return async () => {
      const { data, data_base64 } = await client.event();
      return data_base64 === undefined ? String(data).length : Buffer.from(data_base64, "base64").length;
    };
  },
  "an event stream": async (server, topic) => {
    const stream = await openStream(server, topic);
    await stream.next();
    return async () => {
      const { text, data } = await stream.next();
      return text.startsWith("event: longwire.binary") ? Buffer.from(data, "base64").length : data.length;
    };
  },
  "an event stream of CloudEvents": async (server, topic) => {
    const stream = await openStream(server, `${topic}?format=cloudevents`);
    await stream.next();
    return async () => {
      const { data, data_base64 } = JSON.parse((await stream.next()).data);
      return data_base64 === undefined ? data.length : Buffer.from(data_base64, "base64").length;
    };
  },
};

const sizes = {
  "1 MiB": [MiB, []],
  "2 MiB": [2 * MiB, ["--max-message", "2MiB", "--max-buffered", "4MiB"]],
} as const;

for (const [form, open] of Object.entries(forms)) {
  describe(`readers as ${form}`, () => {
    const isStream = form.includes("stream");
    for (const [size, [bytes, flags]] of Object.entries(isStream ? { "1 MiB": sizes["1 MiB"] } : sizes)) {
      const server = sharedServer([...flags, "--log-level", "warn"]);
      for (const [what, { text, type }] of Object.entries(contents)) {
        // Past the default size only what grows most.
        if (bytes > MiB && what !== "control characters") continue;
        test(`get ${size} of ${what}, and what comes after it`, async () => {
          const topic = newTopic();
          const take = await open(server, topic);
          const headers = { "Content-Type": type };
          for (const length of [bytes, 5, bytes, 7]) {
            expect((await post(server, topic, text.repeat(length), headers)).status).toBe(200);
            expect(await take()).toBe(length);
          }
          expect(server.log()).toEqual([]);
        });
      }
    }
  });
}

describe("a reader that has not taken the whole of a large message", () => {
  for (const form of slowForms) {
    test(`is not cut for the smaller ones that follow, of its topic and of others: ${form}`, async () => {
      await using server = await spawnServer(["--log-level", "warn", "--history-messages", "0"]);
      const sightings = noSightings();
      using reader = await connectedReader(server, "large", form, sightings);
      const growing = form.startsWith("cloudevents") ? "\u0001" : "\n";
      await publish(server, "large", "0 ".padEnd(MiB, growing));
      let number = 0;
      for (let round = 0; round < 4; round++) {
        for (let count = 0; count < 6; count++) await publish(server, "large", numbered(++number, 64 * 1024));
        // Whatever is published may lead to a look at all readers.
        await publish(server, "other", "x".repeat(MiB));
      }
      await until(async () => {
        // The kernel holds little for this reader, so the rest comes in many small pieces.
        for (let looks = 0; looks < 500 && reader.last !== number; looks++) {
          reader.takeAll();
          await new Promise(setImmediate);
        }
        return reader.last === number;
      }, "the last message at the reader");
      expect(sightings).toEqual({ cuts: 0, messages: number + 1, holes: [] });
    });
  }

  test("is not cut for the small ones of another of its topics", async () => {
    const narrow = ["--max-buffered", "128KiB", "--max-message", "64KiB", "--history-messages", "0"];
    await using server = await spawnServer([...narrow, "--log-level", "warn"]);
    const sightings = noSightings();
    using reader = await connectedReader(server, "large,small", "cloudevents", sightings);
    await publish(server, "large", "0 ".padEnd(64 * 1024, "\u0001")); // 384 KiB in JSON; the kernel takes about 100.
    const count = 12; // 48 KiB, three times as much as is published between two looks at the readers.
    for (let number = 1; number <= count; number++)
      await publish(server, "small", numbered(number, 4 * 1024));
    await until(() => {
      reader.takeAll();
      return reader.last === count || sightings.cuts > 0;
    }, "the last message at the reader");
    expect(sightings).toEqual({ cuts: 0, messages: count + 1, holes: [] });
  });
});

async function connectedReader(
  server: RunningServer,
  topics: string,
  form: Form,
  sightings: Sightings,
): Promise<SlowReader> {
  const reader = new SlowReader(server, topics, form, sightings);
  await until(() => {
    if (!reader.connected) reader.take(4096);
    return reader.connected;
  }, "the reader to be there");
  return reader;
}
