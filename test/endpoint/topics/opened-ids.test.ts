/** The id in `longwire.open` is never ahead of what the client received, in every form that has ids. */
import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { sharedServer } from "../../support/shared-server.ts";
import {
  cloudEvents,
  newTopic,
  type OpenedTopic,
  openStream,
  openTopic,
  publishEach,
  type ReceivedEvent,
} from "../../support/topics.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

/** Keeps three messages of a topic. */
const server = sharedServer(["--history-messages", "3"]);

let listeningSince = 0;
beforeAll(() => {
  listeningSince = Date.now();
});

interface ClientEvent {
  readonly type: string;
  readonly data: unknown;
  readonly topic: string | undefined;
  /** The cursor that an event stream stores at this event. */
  readonly cursor: string | undefined;
}

interface Line extends AsyncDisposable {
  next(): Promise<ClientEvent>;
}

type Query = { readonly since?: string; readonly lastEventId?: string };
type OpenLine = (topics: readonly string[], query: Query) => Promise<Line>;

const headersOf = ({ lastEventId }: Query): Record<string, string> =>
  lastEventId === undefined ? {} : { "Last-Event-ID": lastEventId };

const eventOf = ({ type, data, topic }: ReceivedEvent, cursor?: string): ClientEvent => ({
  type,
  data,
  topic,
  cursor,
});

const bySocket: OpenLine = async (topics, query) => {
  const path = `${topics.join(",")}${query.since ? `?since=${query.since}` : ""}`;
  const client = await openTopic(server, path, cloudEvents, headersOf(query));
  return {
    next: async () => eventOf(await client.event()),
    [Symbol.asyncDispose]: async () => client.terminate(),
  };
};

const byStream: OpenLine = async (topics, query) => {
  const path = `${topics.join(",")}${query.since ? `?since=${query.since}` : ""}`;
  const stream = await openStream(server, path, headersOf(query));
  return {
    next: async () => {
      const { event, data, id } = await stream.next();
      if (event === undefined) return { type: "longwire.message", data, topic: topics[0], cursor: id };
      return { type: event, data: JSON.parse(data), topic: undefined, cursor: id };
    },
    [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
  };
};

const byCloudEventsStream: OpenLine = async (topics, query) => {
  const path = `${topics.join(",")}?format=cloudevents${query.since ? `&since=${query.since}` : ""}`;
  const stream = await openStream(server, path, headersOf(query));
  return {
    next: async () => {
      const { data, id } = await stream.next();
      return eventOf(JSON.parse(data), id);
    },
    [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
  };
};

const forms: Record<string, OpenLine> = {
  "a WebSocket": bySocket,
  "an event stream": byStream,
  "an event stream of CloudEvents": byCloudEventsStream,
};

/** A topic keeps messages 3 to 5; messages 1 and 2 were trimmed. */
const trimmed: readonly {
  readonly asks: string;
  readonly query: (ids: readonly string[]) => Query;
  readonly openId: (ids: readonly string[]) => string | undefined;
  readonly isGap: boolean;
}[] = [
  { asks: "nothing", query: () => ({}), openId: (ids) => ids[4], isGap: false },
  {
    asks: "an id that resumes",
    query: (ids) => ({ since: String(ids[3]) }),
    openId: (ids) => ids[3],
    isGap: false,
  },
  {
    asks: "the position",
    query: (ids) => ({ since: String(ids[4]) }),
    openId: (ids) => ids[4],
    isGap: false,
  },
  { asks: "all", query: () => ({ since: "all" }), openId: (ids) => ids[1], isGap: false },
  { asks: "a trimmed id", query: (ids) => ({ since: String(ids[0]) }), openId: (ids) => ids[0], isGap: true },
  { asks: "an id of another epoch", query: () => ({ since: "k3-7" }), openId: () => "k3-7", isGap: true },
  { asks: "the id before every gap", query: () => ({ since: "0-0" }), openId: () => "0-0", isGap: true },
  {
    asks: "an id that the topic has yet to reach",
    query: (ids) => ({ since: String(ids[4]).replace(/5$/, "9") }),
    openId: () => "0-0",
    isGap: true,
  },
  { asks: "a span past what was trimmed", query: () => ({ since: "1h" }), openId: () => "0-0", isGap: true },
  { asks: "a strange id", query: () => ({ lastEventId: "strange" }), openId: () => "0-0", isGap: true },
  { asks: "all, as an id", query: () => ({ lastEventId: "all" }), openId: () => "0-0", isGap: true },
  { asks: "a span, as an id", query: () => ({ lastEventId: "1s" }), openId: () => "0-0", isGap: true },
];

for (const [form, open] of Object.entries(forms)) {
  describe(`to ${form} that asks for`, () => {
    for (const { asks, query, openId, isGap } of trimmed) {
      test(`${asks} it is where ${isGap ? "the gap is reported again" : "nothing is skipped"}`, async () => {
        const topic = newTopic();
        const ids = await publishEach(server, topic, ["1", "2", "3", "4", "5"]);
        await using line = await open([topic], query(ids));
        const opened = await line.next();
        expect(opened.type).toBe("longwire.open");
        const [{ id, resumed }] = (opened.data as { topics: [OpenedTopic] }).topics;
        expect(String(id)).toBe(String(openId(ids)));
        expect(resumed).toBe(!isGap && asks !== "nothing");
        if (opened.cursor !== undefined) expect(opened.cursor).toBe(id);
        if (!isGap) return;
        const gap = await line.next();
        expect(gap).toMatchObject({ type: "longwire.gap", data: { topic, from: ids[1] } });
        if (gap.cursor !== undefined) expect(gap.cursor).toBe(String(ids[1]));
        await using again = await open([topic], { since: id });
        await again.next();
        expect(await again.next()).toMatchObject({ type: "longwire.gap", data: { from: ids[1] } });
      });
    }

    test("a span that reaches back to the first message it is the id before that message", async () => {
      // A span that reaches back before the server knew its topics is a gap.
      await until(() => Date.now() - listeningSince > 3000, "the server to be older than the span");
      const topic = newTopic();
      const [first] = await publishEach(server, topic, ["1", "2"]);
      await using line = await open([topic], { since: "3s" });
      const [{ id, resumed }] = ((await line.next()).data as { topics: [OpenedTopic] }).topics;
      expect({ id, resumed }).toEqual({ id: String(first).replace(/1$/, "0"), resumed: true });
    });
  });
}

describe("of several topics", () => {
  for (const [form, open] of Object.entries({
    "a WebSocket": bySocket,
    "an event stream": byCloudEventsStream,
  })) {
    test(`every gap is reported before any message, to ${form}`, async () => {
      const topics = [newTopic(), newTopic(), newTopic()] as const;
      const [one, whole, other] = [
        await publishEach(server, topics[0], ["1", "2", "3", "4", "5"]),
        await publishEach(server, topics[1], ["a", "b", "c"]),
        await publishEach(server, topics[2], ["v", "w", "x", "y", "z"]),
      ];
      await using line = await open(topics, { since: `${one[0]},${whole[0]},${other[0]}` });
      const types: string[] = [];
      const cursors: (string | undefined)[] = [];
      for (let count = 0; count < 4; count++) {
        const { type, cursor } = await line.next();
        types.push(type);
        cursors.push(cursor);
      }
      expect(types).toEqual(["longwire.open", "longwire.gap", "longwire.gap", "longwire.message"]);
      if (form === "a WebSocket") return;
      expect(cursors.slice(0, 3)).toEqual([
        `${one[0]},${whole[0]},${other[0]}`,
        `${one[1]},${whole[0]},${other[0]}`,
        `${one[1]},${whole[0]},${other[1]}`,
      ]);
    });
  }

  // Which part belongs to which topic is unknown, so no part may resume by chance.
  for (const header of [
    (id: string) => id,
    (id: string) => `${id},x`,
    (id: string) => `${id},-`,
    (id: string) => `${id},1h`,
  ]) {
    test(`a Last-Event-ID such as ${header("k3-7")} is strange for all of them`, async () => {
      const topics = [newTopic(), newTopic()] as const;
      const [id] = await publishEach(server, topics[0], ["1"]);
      await using line = await byCloudEventsStream(topics, { lastEventId: header(String(id)) });
      expect((await line.next()).cursor).toBe("0-0,0-0");
      expect((await line.next()).type).toBe("longwire.gap");
      expect((await line.next()).type).toBe("longwire.gap");
      expect(await line.next()).toMatchObject({ type: "longwire.message", topic: topics[0] });
    });
  }
});
