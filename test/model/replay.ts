/**
 * Runs a trace of the model on real Redis servers with the real scripts, and compares each answer and everything that is stored
 * with the model's. A server is started, killed, put back and promoted as the trace says; a script gets what the model's node
 * says; the clock is the replay's own. The model's numbers stand for what Redis gives, such as a replid: the first time that
 * two of them meet, they belong together, and from then on always.
 */
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { decodeEntry, encodeDraft } from "../../src/engine/redis/entry.ts";
import { RedisKeys } from "../../src/engine/redis/keys.ts";
import { type ScriptName, scriptTexts } from "../../src/engine/redis/scripts.ts";
import { RedisServer } from "../support/redis.ts";
import { ReplicationGate } from "../support/replication-gate.ts";
import { until } from "../support/wait.ts";
import { type Action, after, beginning, type Course } from "./actions.ts";
import { type Run, rules, type Seen, type Setting, type Step } from "./scripts.ts";
import type { Way } from "./sizes.ts";
import { walk } from "./walk.ts";
import {
  type Claim,
  current,
  type Data,
  type Id,
  type Known,
  offsetOf,
  type Server,
  type World,
} from "./world.ts";

const keys = new RedisKeys("replay", 0);
const topic = "news";
const topicKeys = [keys.position(topic), keys.log(topic)];

/** What other publishers have in the call that appends the model's message: before it, and after it, in the same topic, too. */
const beside = "beside";
const once = { publisher: "replay", key: "one of all calls" };

/** The last of ARGV, which is taken off, is the time. */
const clockAhead =
  "(function() local t = redis.call('TIME'); return tonumber(table.remove(ARGV)) - t[1] * 1000 - math.floor(t[2] / 1000) end)()";

/** Ages are whole seconds, and the time of each script differs from that of the one before. */
const scriptMilliseconds = 1000;
const beginMilliseconds = 1_700_000_000_000;

/** Nothing is sent to replicas but what scripts write. */
const quietly = ["--repl-ping-replica-period", "3600", "--hz", "100"];

/** One server, or two where the setting is a pair. @returns how many answers were compared @throws if Redis does anything else than the model */
export async function replay({ setting, nodes, isFine = false, trace }: Way): Promise<number> {
  const runs: Run[] = [];
  const course: Course = {
    rules,
    setting,
    messagesMax: 99,
    faultsMax: 99,
    isFine,
    ran: (run) => runs.push(run),
  };
  let world = beginning(course, 2, nodes);
  await using real = await RealWorld.start(setting);
  await real.ran(runs.splice(0), world);
  real.begin();
  const done: Action[] = [];
  const act = async (action: Action): Promise<void> => {
    const next = after(world, action, course);
    done.push(action);
    try {
      await real.act(action, world, next);
      await real.ran(runs.splice(0), next);
    } catch (error) {
      throw new Error(`after ${JSON.stringify(setting)} ${JSON.stringify(done)}: ${error}`, { cause: error });
    }
    world = next;
  };
  for (const action of trace) await act(action);
  if (world.servers[world.address]?.role === "primary") {
    // Everyone comes, and the client asks for what it has missed.
    for (const number of world.nodes.keys()) await act(["connect", number]);
    for (const number of world.nodes.keys()) await act(["beat", number]);
    await act(["visit", 0]);
  }
  return real.compared;
}

/** A random way, shorter than those of the model alone. @returns how many answers were compared */
export const replayWalk = (seed: number): Promise<number> =>
  replay(walk(seed, rules, { servers: 2, nodes: 2, messagesMax: 10, faultsMax: 6, steps: 20 }));

/** Values of Redis, by the numbers of the model that stand for them. */
class Names<Value extends string | number> {
  readonly #what: string;
  readonly #values = new Map<string, Value>();

  constructor(what: string) {
    this.#what = what;
  }

  /** @throws if the number stands for another value, or the value for another number */
  learn(number: string | number, value: Value): void {
    const known = this.#values.get(String(number));
    if (known === value) return;
    const [other] = [...this.#values].find(([, of]) => of === value) ?? [];
    if (known !== undefined || other !== undefined)
      throw new Error(
        `${this.#what} ${number} of the model is ${value}, and ${value} ${other}, ${number} ${known}`,
      );
    this.#values.set(String(number), value);
  }

  of(number: string | number): Value {
    const value = this.#values.get(String(number));
    if (value === undefined) throw new Error(`${this.#what} ${number} of the model has not appeared`);
    return value;
  }
}

class RealWorld implements AsyncDisposable {
  compared = 0;
  readonly #setting: Setting;
  readonly #texts: Readonly<Record<ScriptName, string>>;
  readonly #servers: RedisServer[];
  /** Another server, from when it takes the place of the replica. */
  #spare: RedisServer | undefined;
  readonly #spareFollows = new Set<number>();
  /** From the replica with this number to its primary. */
  readonly #gates = new Map<number, ReplicationGate>();
  /** Of each server the files after each of the model's `versions`. */
  readonly #copies: string[][] = [];
  #copied = 0;
  #clock = beginMilliseconds;
  readonly #replids = new Names<string>("the replid");
  readonly #epochs = new Names<string>("the epoch");
  readonly #lossyTimes = new Names<string>("the time");
  /** By epoch and offset. */
  readonly #ids = new Map<string, number>();
  /** The model's offsets by the real ids: no two have one. */
  readonly #offsetsOfIds = new Map<string, number>();
  /** What others in the calls were answered. */
  readonly #besideIds = new Set<string>();
  /** The least and the most offset of replication of each step of a history, by replid and offset. */
  readonly #offsets = new Map<string, [least: number, most: number]>();
  /** What an append was answered, by the model's replid and offset. */
  readonly #claims = new Map<string, string>();
  #generation: number | undefined;

  private constructor(setting: Setting, servers: RedisServer[]) {
    this.#setting = setting;
    this.#servers = servers;
    const acknowledge = setting.isLossless ? 1 : 0;
    const { isLossless: losslessFailover } = setting;
    this.#texts = scriptTexts({
      keyed: [],
      feeds: [],
      positionAgeSeconds: 7200,
      acknowledge,
      losslessFailover,
      clockAhead,
    });
  }

  static async start(setting: Setting): Promise<RealWorld> {
    const flags = setting.persistence === "aof" ? ["--appendonly", "yes", "--appendfsync", "no"] : [];
    const count = setting.isPair ? 2 : 1;
    const starting = Array.from({ length: count }, () => RedisServer.start(...quietly, ...flags));
    const world = new RealWorld(setting, await Promise.all(starting));
    if (setting.isPair) await world.#follow(1, 0);
    world.#copies[0] = [await world.#copy(0)];
    return world;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const gate of this.#gates.values()) gate[Symbol.dispose]();
    for (const server of [...this.#servers, this.#spare]) await server?.[Symbol.asyncDispose]();
  }

  #server(number: number): RedisServer {
    return this.#servers[number] as RedisServer;
  }

  /** What is there now is the first of the model's `versions`. */
  begin(): void {
    this.#copies[0] = (this.#copies[0] as string[]).slice(-1);
  }

  /** Does to the servers what an action does, apart from scripts. */
  async act([name, number = 0, count = 0]: Action, before: World, next: World): Promise<void> {
    if (name === "restart")
      await this.#restart(number, (before.servers[number] as Server).versions.length - 1 - count);
    if (name === "attach" || name === "replace")
      await this.#takePlace(name === "attach" ? number : next.address);
    if (name === "promote" || name === "split") await this.#promote(number, before, next);
    if (name === "follow") {
      await this.#freeSpare();
      if (before.servers[number]?.role === "down") await this.#server(number).restart();
      await this.#follow(number, next.address);
    }
  }

  async #restart(number: number, version: number): Promise<void> {
    const server = this.#server(number);
    await server.kill();
    this.#cutFrom(number);
    const copy = this.#copies[number]?.[version] as string;
    const files = join(server.directory, this.#files);
    await rm(files, { recursive: true, force: true });
    await cp(copy, files, { recursive: true });
    await server.restart();
    this.#copies[number] = [await this.#copy(number)];
  }

  /** Another replica is connected instead of the one that is. */
  async #takePlace(primary: number): Promise<void> {
    for (const gate of this.#gates.values()) gate.cut();
    this.#spare ??= await RedisServer.start(...quietly);
    await this.#spare.follow(this.#server(primary));
    this.#spareFollows.add(primary);
  }

  async #freeSpare(): Promise<void> {
    if (this.#spareFollows.size > 0) await this.#spare?.promote();
    this.#spareFollows.clear();
  }

  async #promote(number: number, before: World, next: World): Promise<void> {
    const { replid2, secondOffset } = next.servers[number] as Server;
    await this.#letThrough(number, replid2, secondOffset);
    await this.#server(number).promote();
    this.#gates.get(number)?.cut();
    await this.#freeSpare();
    for (const [other, { role }] of next.servers.entries())
      if (role === "down" && before.servers[other]?.role === "primary") {
        await this.#server(other).kill();
        this.#cutFrom(other);
      }
    this.#copies[number] = [await this.#copy(number)];
  }

  /** The replica gets what was written up to a step. */
  async #letThrough(number: number, replid: number, offset: number): Promise<void> {
    const replica = this.#server(number);
    const wanted = this.#offsets.get(`${replid} ${offset}`)?.[1];
    const gate = this.#gates.get(number);
    if (wanted === undefined || !gate) return;
    await until(() => gate.letThrough(wanted), "what the primary has sent");
    await until(
      async () => Number(await replica.info("master_repl_offset")) >= wanted,
      "a replica to have it",
    );
  }

  async #follow(number: number, primary: number): Promise<void> {
    this.#gates.get(number)?.[Symbol.dispose]();
    const [replica, followed] = [this.#server(number), this.#server(primary)];
    const gate = new ReplicationGate(followed.port);
    this.#gates.set(number, gate);
    await replica.follow(followed, gate.port);
    gate.close(Number(await followed.info("master_repl_offset")));
    await until(
      async () => (await replica.info("aof_rewrite_in_progress")) === "0",
      "the files of a replica",
    );
  }

  #cutFrom(primary: number): void {
    if (this.#spareFollows.delete(primary)) return;
    for (const gate of this.#gates.values()) gate.cut();
  }

  get #files(): string {
    return this.#setting.persistence === "aof" ? "appendonlydir" : "dump.rdb";
  }

  /** Copies what is on the disk of a server. @returns where to */
  async #copy(number: number): Promise<string> {
    const server = this.#server(number);
    if (this.#setting.persistence === "snapshot") {
      await until(
        async () => (await server.info("rdb_bgsave_in_progress")) === "0",
        "a full resync to be over",
      );
      await server.command("SAVE");
    }
    const copy = join(server.directory, `copy-${++this.#copied}`);
    await cp(join(server.directory, this.#files), copy, { recursive: true });
    return copy;
  }

  /** Runs the scripts that the model ran, and compares what they answer and write. */
  async ran(runs: readonly Run[], world: World): Promise<void> {
    const links = world.servers.entries().filter(([, { role }]) => role === "primary");
    for (const [number, { replid }] of links) {
      const isFollowed =
        world.isReplaced || world.servers.some((s) => s.role === "replica" && s.replid === replid);
      await until(
        async () => (await this.#server(number).info("connected_slaves")) === (isFollowed ? "1" : "0"),
        `server ${number} to have ${isFollowed ? "one" : "no"} replica`,
      );
    }
    for (const { server, seen, steps, after } of runs) {
      await this.#learn(server, after);
      for (const step of steps) {
        // A read is the last, and its answer has the offsets of messages in an epoch that may be new.
        if (step.name === "read") await this.#compare(server, current(after));
        await this.#step(server, seen, step);
      }
      await this.#learn(server, after);
      await this.#compare(server, current(after));
      const copies = this.#copies[server] as string[];
      if (after.versions.length > copies.length) copies.push(await this.#copy(server));
    }
    for (const [number, server] of world.servers.entries()) {
      if (server.role === "down") continue;
      if (server.role === "replica") await this.#letThrough(number, server.replid, offsetOf(server));
      else await this.#learn(number, server);
      if (current(server).fence) await this.#compare(number, current(server));
    }
  }

  async #learn(number: number, server: Server): Promise<void> {
    const real = this.#server(number);
    this.#replids.learn(server.replid, String(await real.info("master_replid")));
    if (!server.hasBacklog) return;
    const offset = Number(await real.info("master_repl_offset"));
    const key = `${server.replid} ${offsetOf(server)}`;
    const [least, most] = this.#offsets.get(key) ?? [offset, offset];
    this.#offsets.set(key, [Math.min(least, offset), Math.max(most, offset)]);
    if (server.replid2 === 0) return;
    const [from = -1, to = -1] = this.#offsets.get(`${server.replid2} ${server.secondOffset}`) ?? [];
    const second = Number(await real.info("second_repl_offset")) - 1;
    const is = { replid2: await real.info("master_replid2"), isInStep: from <= second && second <= to };
    this.#equal(
      is,
      { replid2: this.#replids.of(server.replid2), isInStep: true },
      `the history of server ${number}`,
    );
  }

  async #step(number: number, seen: Seen | undefined, step: Step): Promise<void> {
    const run = async (name: ScriptName, own: readonly string[], values: readonly (string | number)[]) => {
      const all = [keys.fence, ...own];
      const shown = seen ? [this.#generationOf(seen.generation), this.#replids.of(seen.replid)] : ["", ""];
      this.#clock += scriptMilliseconds;
      const args = [...all, ...values, ...shown, this.#clock].map(String);
      return await this.#server(number).command("EVAL", this.#texts[name], String(all.length), ...args);
    };
    const newEpoch = `e${this.#clock}`;
    if (step.name === "append") {
      const [reached = "", answer = ""] = await this.#append(step.message, newEpoch, run);
      const [, replid, claimed] = reached.split(" ");
      const [epoch = "", offset] = answer.split(" ");
      this.#learnId(step.id, epoch, Number(offset));
      this.#claims.set(`${replid} ${step.claimed}`, String(claimed));
    } else if (step.name === "subscribe") {
      const [epoch, last] = (await run("subscribe", topicKeys, [newEpoch])) as string[];
      this.#learnId(step.topic, String(epoch), Number(last));
    } else if (step.name === "read") {
      await this.#read(step, run);
    } else {
      const claims = step.claims.flatMap((claim) => this.#claim(claim));
      const ids = step.ids.flatMap((id) => [...this.#id(id), this.#ageOf(id)]);
      const positions = step.ids.map(() => keys.position(topic));
      const answer = (await run("testify", positions, [step.claims.length, ...claims, ...ids])) as unknown[];
      this.#generation ??= Number(answer[0]) - step.generation;
      const is = { generation: Number(answer[0]), losses: Number(answer[1]) };
      this.#equal(
        is,
        { generation: this.#generationOf(step.generation), losses: step.losses },
        "a testimony",
      );
    }
  }

  /**
   * Appends the model's message in a call with others: one before it, and one with a key that earlier calls have used, which
   * is refused unless the server has lost the key.
   * @returns the line of the call and the answer to the model's message
   */
  async #append(message: number, newEpoch: string, run: RunScript): Promise<string[]> {
    const shape = "1000 3600000 0 1";
    const content = contentOf(message);
    const name = keys.name(beside);
    const own = [name, name, keys.record(beside, once), keys.name(topic), name];
    const first = [`${shape} none`, content];
    const refused = [`${shape} once`, `digest ${message}`, content];
    const values = [newEpoch, keys.channelsBegin, ...first, ...refused, ...first, ...first];
    const [reached = "", ...answers] = String(await run("append", own, values)).split("\n");
    const [before = "", used = "", answer = "", after = ""] = answers;
    const offsetOf = (place: string): number => Number(place.split(" ")[1]);
    const isUsed = used === "CONFLICT";
    const offsets = [before, ...(isUsed ? [] : [used]), after].map(offsetOf);
    const following = offsets.map((_, index) => (offsets[0] ?? 0) + index);
    this.#equal(offsets, following, "the offsets of what others publish in one call");
    for (const place of isUsed ? [before, after] : [before, used, after]) {
      this.#equal(this.#besideIds.has(place), false, `that an id of others was given before, ${place},`);
      this.#besideIds.add(place);
    }
    return [reached, answer];
  }

  async #read({ since, answer }: Step & { readonly name: "read" }, run: RunScript): Promise<void> {
    const values = ["position", ...this.#id(since), 1000, 1_000_000, 3_600_000];
    const reply = (await run("read", topicKeys, values)) as unknown[];
    const [complete, epoch = "", from, , , , ...entries] = reply.map(String);
    const is = { isComplete: complete === "1", from: Number(from), entries: entries.map(entryOf) };
    const { isComplete, entries: expected } = answer;
    const offsetIn = (offset: number): number => this.#idIn(epoch, offset);
    const should = {
      isComplete,
      from: offsetIn(answer.from),
      entries: expected.map((entry) => ({
        ...entry,
        ...{ offset: offsetIn(entry.offset), previous: offsetIn(entry.previous) },
      })),
    };
    this.#equal(is, should, `what follows ${JSON.stringify(since)}`);
  }

  #claim(claim: Claim): (string | number)[] {
    const replid = this.#replids.of(claim.replid);
    return [replid, this.#claims.get(`${replid} ${claim.offset}`) ?? "", this.#ageOf(claim)];
  }

  /** It was known right after the last possible loss before it. */
  #ageOf({ time }: Known | Claim): number {
    return this.#clock + scriptMilliseconds - (Number(this.#lossyTimes.of(time)) + 1);
  }

  #id({ epoch, offset }: Id): [string, number] {
    const name = this.#epochs.of(epoch);
    return [name, this.#idIn(name, offset)];
  }

  #idIn(epoch: string, offset: number): number {
    const real = offset === 0 ? 0 : this.#ids.get(`${epoch} ${offset}`);
    if (real === undefined) throw new Error(`the id ${epoch}-${offset} of the model has not appeared`);
    return real;
  }

  #learnId({ epoch, offset }: Id, realEpoch: string, realOffset: number): void {
    this.#epochs.learn(epoch, realEpoch);
    this.#learnOffset(realEpoch, offset, realOffset);
  }

  #learnOffset(epoch: string, offset: number, real: number): void {
    const known = offset === 0 ? 0 : this.#ids.get(`${epoch} ${offset}`);
    if (known !== undefined && known !== real)
      throw new Error(`the id ${epoch}-${offset} of the model is ${real}, and was ${known}`);
    this.#ids.set(`${epoch} ${offset}`, real);
    const other = this.#offsetsOfIds.get(`${epoch} ${real}`) ?? offset;
    if (other !== offset)
      throw new Error(`the ids ${epoch}-${offset} and ${epoch}-${other} of the model are both ${real}`);
    this.#offsetsOfIds.set(`${epoch} ${real}`, offset);
  }

  #generationOf(generation: number): number {
    return generation + (this.#generation ?? 0);
  }

  /** Compares all that a server has stored. */
  async #compare(number: number, data: Data): Promise<void> {
    const server = this.#server(number);
    const [fence, position] = await Promise.all(
      [keys.fence, keys.position(topic)].map(async (key) => fieldsOf(await server.command("HGETALL", key))),
    );
    const entries = ((await server.command("LRANGE", keys.log(topic), "0", "-1")) as string[]).map(entryOf);
    this.#compareFence(number, fence ?? {}, data);
    const { epoch = "", last, generation, forks = "-", holes = "-" } = position ?? {};
    if (!data.position) {
      this.#equal(last, undefined, `the position of server ${number}`);
      return;
    }
    this.#equal(entries.length, data.log.length, `the number of messages of server ${number}`);
    this.#learnId({ epoch: data.position.epoch, offset: data.position.last }, epoch, Number(last));
    for (const [index, { offset, previous, message }] of data.log.entries()) {
      const entry = entries[index];
      this.#equal(entry?.message, message, `message ${index} of server ${number}`);
      this.#learnOffset(epoch, offset, Number(entry?.offset));
      this.#learnOffset(epoch, previous, Number(entry?.previous));
    }
    const is = {
      generation: Number(generation),
      forks: pairs(forks).map(([of = "", offset]) => [of, Number(offset)] as const),
      holes: pairs(holes).map(([from, to]) => [Number(from), Number(to)] as const),
    };
    const should = {
      generation: this.#generationOf(data.position.generation),
      forks: data.position.forks.map((fork) => this.#id(fork)),
      holes: data.position.holes.map(
        ([from, to]) => [this.#idIn(epoch, from), this.#idIn(epoch, to)] as const,
      ),
    };
    this.#equal(is, should, `the position of server ${number}`);
  }

  #compareFence(number: number, fence: Readonly<Record<string, string>>, { fence: expected }: Data): void {
    if (!expected) throw new Error("the model has no fence");
    this.#lossyTimes.learn(expected.lossyTime, fence.lossy_time ?? "");
    const links = pairs(fence.links ?? "-");
    this.#equal(
      {
        replid: fence.replid,
        generation: Number(fence.generation),
        lossy: Number(fence.lossy),
        isFollowed: fence.followed !== "0",
        links: links.map(([replid, offset]) => `${replid} ${offset === "-" ? "unknown" : "known"}`),
      },
      {
        replid: this.#replids.of(expected.replid),
        generation: this.#generationOf(expected.generation),
        lossy: this.#generationOf(expected.lossy),
        isFollowed: expected.replicas > 0,
        links: expected.links.map(
          ({ replid, offset }) => `${this.#replids.of(replid)} ${offset === undefined ? "unknown" : "known"}`,
        ),
      },
      `the fence of server ${number}`,
    );
    for (const [index, { replid, offset }] of expected.links.entries()) {
      if (offset === undefined) continue;
      const [from = -1, to = -1] = this.#offsets.get(`${replid} ${offset}`) ?? [];
      const real = Number(links[index]?.[1]);
      this.#equal(
        from <= real && real <= to,
        true,
        `link ${index} of server ${number}, ${real} in ${from} to ${to},`,
      );
    }
  }

  #equal(is: unknown, should: unknown, what: string): void {
    this.compared++;
    if (!Bun.deepEquals(is, should))
      throw new Error(`${what} is ${JSON.stringify(is)} and not ${JSON.stringify(should)}`);
  }
}

type RunScript = (
  name: ScriptName,
  own: readonly string[],
  values: readonly (string | number)[],
) => Promise<unknown>;

const contentOf = (message: number): string =>
  String(encodeDraft({ data: String(message), contentType: "text/plain" }));

const pairs = (text: string): string[][] =>
  text === "-" ? [] : text.split(",").map((pair) => pair.split(":"));

function fieldsOf(reply: unknown): Record<string, string> {
  if (!Array.isArray(reply)) return Object.fromEntries(Object.entries(reply as object));
  return Object.fromEntries(
    Array.from({ length: reply.length / 2 }, (_, index) => reply.slice(index * 2, index * 2 + 2)),
  );
}

function entryOf(text: string): {
  readonly offset: number;
  readonly previous: number;
  readonly message: number;
} {
  const entry = decodeEntry(topic, Buffer.from(text));
  if ("isEnd" in entry) throw new Error("the topic has ended");
  const { offset, previous = offset - 1, data } = entry;
  return { offset, previous, message: Number(data) };
}
