/** A server on disk that is killed while keys of one topic are set and removed, and what it has afterwards. */
import { type DiskServer, spawnDiskServer } from "./disk-server.ts";
import type { Random } from "./random.ts";
import { everyEvent, type ReceivedEvent, topicsUrl } from "./topics.ts";
import { until } from "./wait.ts";

const topic = "state/one";
const keysPerPublisher = 5;
const publishers = ["a", "b", "c", "d"] as const;

/** What was asked for a key, one after the other. */
interface Change {
  /** Undefined for a removal. */
  readonly value: string | undefined;
  /** Undefined where there was no answer: it may have been done or not. */
  id?: string;
}

interface KeyedEvent extends ReceivedEvent {
  readonly partitionkey?: string;
}

export interface KeyedKillTally {
  acknowledged: number;
  unanswered: number;
}

/** @throws where a key has neither what was acknowledged last nor something later, or an epoch has changed */
export async function runKeyedKills(random: Random, kills: number): Promise<KeyedKillTally> {
  await using server = await spawnDiskServer(["--keyed", "state/*"]);
  const load = new KeyedLoad(server, random);
  const publishing = load.run();
  for (let kill = 1; kill <= kills; kill++) {
    await Promise.race([until(() => load.tally.acknowledged >= 40 * kill, "publications", 60), publishing]);
    await Promise.race([Bun.sleep(random.between(5, 100)), publishing]); // The moment of the kill is what is random.
    await load.whileAway(async () => {
      await server.kill();
      await server.start();
    });
  }
  load.finish();
  await publishing;
  await load.check();
  return load.tally;
}

/** What a key may have: what was acknowledged last, and what was asked after it. */
function possibleValues(changes: readonly Change[]): (string | undefined)[] {
  const last = changes.findLastIndex(({ id }) => id !== undefined);
  const values = changes.slice(Math.max(0, last)).map(({ value }) => value);
  return last < 0 ? [undefined, ...values] : values;
}

class KeyedLoad {
  readonly tally: KeyedKillTally = { acknowledged: 0, unanswered: 0 };
  readonly #server: DiskServer;
  readonly #random: Random;
  readonly #changes = new Map<string, Change[]>();
  /** Resolves when the server can be asked. */
  #isThere: Promise<void> = Promise.resolve();
  #isFinishing = false;

  constructor(server: DiskServer, random: Random) {
    this.#server = server;
    this.#random = random;
  }

  async run(): Promise<void> {
    await Promise.all(publishers.map((name) => this.#publish(name)));
  }

  /** Nothing further is asked until the server is there again: another program may be given its port. */
  async whileAway(act: () => Promise<void>): Promise<void> {
    this.#isThere = act();
    await this.#isThere;
  }

  finish(): void {
    this.#isFinishing = true;
  }

  /** The topic has for each key what one of its last changes made of it, and a reader that returns folds to the same. */
  async check(): Promise<void> {
    const state = await this.#fold("all");
    for (const [key, changes] of this.#changes) {
      const possible = possibleValues(changes);
      if (!possible.includes(state.get(key)))
        throw new Error(`${key} is ${state.get(key)}, and may be ${possible.join(" or ")}`);
    }
    const ids = [...this.#changes.values()].flat().flatMap(({ id }) => id ?? []);
    if (new Set(ids).size < ids.length) throw new Error("an id was given twice");
    if (new Set(ids.map((id) => id.slice(0, id.lastIndexOf("-")))).size > 1)
      throw new Error("the topic has begun a new epoch");
    const returned = await this.#fold(ids[0] ?? "all");
    for (const [key, value] of returned)
      if (state.get(key) !== value) throw new Error(`a reader that returned takes ${key} for ${value}`);
  }

  async #publish(name: string): Promise<void> {
    for (let count = 0; !this.#isFinishing; count++) {
      const key = `${name}${this.#random.below(keysPerPublisher)}`;
      const changes = this.#changes.get(key) ?? [];
      this.#changes.set(key, changes);
      await this.#change(key, changes, this.#random.chance(0.2) ? undefined : `${key} ${count}`);
    }
  }

  async #change(key: string, changes: Change[], value: string | undefined): Promise<void> {
    const change: Change = { value };
    changes.push(change);
    await this.#isThere;
    const answer = await this.#ask(key, value);
    if (!answer) this.tally.unanswered++;
    else if (answer.status === 404) {
      changes.pop(); // Nothing was appended.
      if (!possibleValues(changes).includes(undefined)) throw new Error(`the value of ${key} is lost`);
    } else if (answer.status !== 200) {
      throw new Error(`${answer.status} ${answer.text}`);
    } else {
      change.id = JSON.parse(answer.text).published[0].id;
      this.tally.acknowledged++;
    }
  }

  /** @returns undefined where it is unknown whether it was done */
  async #ask(key: string, body: string | undefined): Promise<{ status: number; text: string } | undefined> {
    try {
      const response = await fetch(`${topicsUrl(this.#server.running, topic)}?key=${key}`, {
        method: body === undefined ? "DELETE" : "POST",
        ...(body !== undefined && { body, headers: { "Content-Type": "text/plain" } }),
      });
      const text = await response.text();
      return response.status === 503 ? undefined : { status: response.status, text };
    } catch (error) {
      if (error instanceof Error) return undefined;
      throw error;
    }
  }

  /** What a reader makes of what it is given, by key; undefined for a removal. */
  async #fold(since: string): Promise<Map<string, string | undefined>> {
    const state = new Map<string, string | undefined>();
    const events: KeyedEvent[] = await everyEvent(this.#server.running, topic, since);
    for (const { type, data, partitionkey = "" } of events)
      state.set(partitionkey, type === "longwire.removed" ? undefined : String(data));
    return state;
  }
}
