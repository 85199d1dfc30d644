/**
 * Clients that follow topics and often disconnect, each in its form. They check that every message comes once and in order,
 * or that a gap is reported.
 */
import type { GapError, Longwire } from "../../src/longwire.ts";
import type { Random } from "./random.ts";
import type { RunningServer } from "./server.ts";
import {
  cloudEvents,
  offsetOf,
  openStream,
  openTopic,
  type ReceivedEvent,
  type StreamBlock,
  topicsUrl,
} from "./topics.ts";
import { until } from "./wait.ts";

/** An event for a client, in any form. */
export type Given =
  | { readonly kind: "open"; readonly ids: readonly { topic: string; id: string }[] }
  | { readonly kind: "message"; readonly topic: string; readonly id: string; readonly data: string }
  /** `ends` if nothing follows on the same connection, as in an iteration that throws. */
  | { readonly kind: "gap"; readonly topic: string; readonly from: string; readonly ends?: true }
  /** The connection broke, where that is expected. */
  | { readonly kind: "broken" };

/** The last message of a publisher. */
export const lastMessage = "the last one";

/** One connection. */
export interface Line {
  next(): Promise<Given>;
  /** With a Close frame or without. */
  leave(abruptly: boolean): Promise<void>;
}

/** Opens a connection that continues after these ids, one for each topic; from now on without them. */
export type OpenLine = (topics: readonly string[], ids: readonly string[] | undefined) => Promise<Line>;

type Server = Pick<RunningServer, "url" | "socketUrl">;

export const openLines = {
  "a WebSocket":
    (server: Server): OpenLine =>
    async (topics, ids) => {
      const query = ids ? `?since=${ids.join(",")}` : "";
      const client = await openTopic(server as RunningServer, topics.join(",") + query, cloudEvents);
      return {
        next: async () => givenBy(await client.event()),
        leave: async (abruptly) => {
          if (abruptly) client.terminate();
          else client.close(1000);
          await client.closed;
        },
      };
    },

  "an event stream":
    (server: Server): OpenLine =>
    async (topics, ids) => {
      const headers: Record<string, string> = ids ? { "Last-Event-ID": ids.join(",") } : {};
      const path = `${topics.join(",")}?format=cloudevents`;
      const stream = await openStream(server as RunningServer, path, headers);
      return {
        next: async () => givenBy(JSON.parse(dataOf(await stream.next()))),
        leave: async () => stream[Symbol.asyncDispose](),
      };
    },

  "a plain event stream":
    (server: Server): OpenLine =>
    async ([topic = ""], ids) => {
      const headers: Record<string, string> = ids ? { "Last-Event-ID": ids.join(",") } : {};
      const stream = await openStream(server as RunningServer, topic, headers);
      return {
        next: async () => {
          const given = await stream.next();
          const { event, id = "" } = given;
          const data = dataOf(given);
          if (event === "longwire.open") return { kind: "open", ids: JSON.parse(data).topics };
          if (event === "longwire.gap") return { kind: "gap", topic, from: JSON.parse(data).from };
          return { kind: "message", topic, id, data };
        },
        leave: async () => stream[Symbol.asyncDispose](),
      };
    },
} as const;

/** Polls that wait, each continued at the cursor of the one before. */
export const openPolls =
  (server: Server): OpenLine =>
  async ([topic = ""], ids) => {
    const abort = new AbortController();
    const poll = async (since: string): Promise<Response> => {
      const answer = await fetch(`${topicsUrl(server, topic)}?since=${since}`, { signal: abort.signal });
      if (answer.status !== 200)
        throw new Error(`a poll was answered with ${answer.status}: ${await answer.text()}`);
      return answer;
    };
    const given: Given[] = [];
    let cursor = ids?.join(",");
    if (cursor === undefined) {
      cursor = (await poll("-")).headers.get("Longwire-Cursor") ?? "";
      given.push({ kind: "open", ids: [{ topic, id: cursor }] });
    }
    return {
      next: async () => {
        for (;;) {
          const first = given.shift();
          if (first) return first;
          const answer = await poll(`${cursor}&wait=5s`);
          const events = (await answer.json()) as ReceivedEvent[];
          given.push(...events.map(givenBy));
          cursor = answer.headers.get("Longwire-Cursor") ?? "";
        }
      },
      leave: async () => abort.abort(),
    };
  };

/** @throws if the server ends the stream: with `longwire.close`, or without data where it refuses a stream for now */
function dataOf({ event, data }: Pick<StreamBlock, "event" | "data">): string {
  if (event === "longwire.close" || data === "") throw new Error(`the stream ended with "${data}"`);
  return data;
}

/** The same where the server is killed and comes back: the connection may break at any moment, and opening waits for it. */
export const openSurviving =
  (open: OpenLine): OpenLine =>
  async (topics, ids) => {
    let line: Line | undefined;
    await until(
      async () => {
        line = await open(topics, ids).catch(() => undefined);
        return line !== undefined;
      },
      "a server that takes connections",
      30,
    );
    if (!line) throw new Error("no connection was opened");
    const { next, leave } = line;
    const nextOrBroken = async (): Promise<Given> => {
      try {
        return await next();
      } catch (error) {
        if (/closed with|the stream (ended|broke off)/.test(String(error))) return { kind: "broken" };
        throw error; // A message that does not come on an open connection is lost.
      }
    };
    return { next: nextOrBroken, leave };
  };

/** The library's `subscribe`, which reports its begin only by its messages. */
export const openIteration =
  (longwire: Longwire): OpenLine =>
  async ([topic = ""], ids) => {
    const abort = new AbortController();
    const since = ids?.[0];
    const options = since === undefined ? { since: "all" } : { since };
    const messages = longwire.subscribe(topic, { ...options, signal: abort.signal })[Symbol.asyncIterator]();
    return {
      next: async () => {
        try {
          const { done, value } = await messages.next();
          if (done) throw new Error("the iteration ended");
          return { kind: "message", topic, id: value.id, data: String(value.data) };
        } catch (error) {
          if (!(error instanceof Error) || error.name !== "GapError") throw error;
          return { kind: "gap", topic, from: (error as GapError).from, ends: true };
        }
      },
      leave: async (abruptly) => {
        if (abruptly) abort.abort();
        else await messages.return?.();
      },
    };
  };

function givenBy({ type, topic = "", id, data }: ReceivedEvent): Given {
  if (type === "longwire.open")
    return { kind: "open", ids: (data as { topics: { topic: string; id: string }[] }).topics };
  if (type === "longwire.gap") return { kind: "gap", ...(data as { topic: string; from: string }) };
  if (type === "longwire.close") throw new Error("the stream ended with longwire.close");
  if (type !== "longwire.message") throw new Error(`a follower was given ${type}`);
  return { kind: "message", topic, id, data: String(data) };
}

export class Follower {
  connections = 0;
  gaps = 0;
  /** By topic and id. */
  readonly received = new Map<string, string>();
  readonly #name: string;
  readonly #topics: readonly string[];
  readonly #open: OpenLine;
  readonly #random: Random;
  /** Topics whose last message has not arrived. */
  readonly #unfinished: Set<string>;
  /** The last id of each topic. */
  readonly #ids = new Map<string, string>();

  constructor(name: string, topics: readonly string[], open: OpenLine, random: Random) {
    this.#name = name;
    this.#topics = topics;
    this.#unfinished = new Set(topics);
    this.#open = open;
    this.#random = random;
  }

  /** Connects and disconnects until it has the last message of each topic. */
  async follow(): Promise<void> {
    while (this.#unfinished.size > 0) {
      const ids = this.#topics.map((topic) => this.#ids.get(topic)).filter((id) => id !== undefined);
      const line = await this.#open(this.#topics, ids.length === this.#topics.length ? ids : undefined);
      this.connections++;
      try {
        await this.#take(line);
      } finally {
        await line.leave(this.#random.chance(0.5));
      }
    }
  }

  async #take(line: Line): Promise<void> {
    // Sometimes none at all: it leaves before the first event.
    const count = this.#random.chance(0.1) ? 0 : this.#random.between(1, 80);
    for (let taken = 0; taken < count && this.#unfinished.size > 0; taken++) {
      const given = await line.next();
      if (given.kind === "broken") return;
      if (given.kind === "open") this.#begin(given.ids);
      else if (given.kind === "message") this.#receive(given);
      else {
        this.#jump(given);
        if (given.ends) return;
      }
    }
  }

  #begin(ids: readonly { topic: string; id: string }[]): void {
    for (const { topic, id } of ids) if (!this.#ids.has(topic)) this.#ids.set(topic, id);
  }

  #jump({ topic, from }: { topic: string; from: string }): void {
    this.gaps++;
    this.#ids.set(topic, from);
  }

  #receive({ topic, id, data }: { topic: string; id: string; data: string }): void {
    const last = this.#ids.get(topic);
    if (last !== undefined && offsetOf(id) !== offsetOf(last) + 1)
      throw new Error(
        `${this.#name}, at connection ${this.connections}: after ${last} of ${topic} came ${id}`,
      );
    this.#ids.set(topic, id);
    this.received.set(`${topic} ${id}`, data);
    if (data === lastMessage) this.#unfinished.delete(topic);
  }
}
