/** A server on disk that is killed at random moments under load, and starts again in the same directory. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Acknowledged } from "./acknowledged.ts";
import { Follower, lastMessage, openLines, openSurviving } from "./followers.ts";
import type { Random } from "./random.ts";
import { type RunningServer, type SpawnOptions, spawnServer } from "./server.ts";
import { everyEvent, offsetOf, type ReceivedEvent, topicsUrl } from "./topics.ts";
import { until, within } from "./wait.ts";

/** Of the followers. */
const topics = ["one", "two"] as const;

/** Many others in turn: what is kept of them is merged and deleted meanwhile. */
const others = Array.from({ length: 50 }, (_, index) => `others/${index}`);

/** The feed of all topics. */
const feed = "all";

/** What happened in a run: where one of them is 0, the run has shown nothing. */
export interface KillTally {
  acknowledged: number;
  kills: number;
  /** Kills of a server that was still starting. */
  killsAtStart: number;
  returns: number;
  repeats: number;
  gaps: number;
}

export const emptyKillTally = (): KillTally => ({
  acknowledged: 0,
  kills: 0,
  killsAtStart: 0,
  returns: 0,
  repeats: 0,
  gaps: 0,
});

export interface KillRun {
  readonly random: Random;
  readonly kills: number;
  /** Retention deletes all the time if it keeps few messages; then gaps are allowed. */
  readonly historyMessages: number;
  readonly spawn?: SpawnOptions | undefined;
  readonly tally: KillTally;
}

/** @throws if an acknowledged message is missing, doubled or out of order, or a follower was told a gap where none was */
export async function runKills(run: KillRun): Promise<void> {
  const { random, kills, historyMessages, spawn, tally } = run;
  const directory = await mkdtemp(join(tmpdir(), "longwire-kills-"));
  const flags = [
    ...["--data", directory, "--history-messages", String(historyMessages), "--log-level", "warn"],
    ...["--feed", `* ${feed}`],
  ];
  let server = await spawnServer(flags, spawn);
  try {
    const { url, socketUrl } = server; // The port stays the same.
    const load = new Load({ url, socketUrl }, random, tally);
    const done = load.run();
    for (let kill = 0; kill < kills; kill++) {
      await Promise.race([load.isUnderWay(kill), done]);
      await Promise.race([Bun.sleep(random.between(20, 400)), done]); // The moment of the kill is what is random.
      server = await killAndStart(server, [...flags, "--port", url.port], { random, spawn, tally });
    }
    load.finish();
    await within(done, "publishers and followers to finish", 60);
    const complaints = server.log().filter(({ msg }) => String(msg).includes("epoch"));
    if (complaints.length > 0) throw new Error(`the log has ${JSON.stringify(complaints[0])}`);
    const fed = Map.groupBy<string, FedEvent>(await everyEvent(server, feed), ({ origin = "" }) => origin);
    for (const topic of load.topics) {
      const events = await everyEvent(server, topic);
      load.check(topic, events);
      checkFed(events, fed.get(topic) ?? [], historyMessages > load.acknowledged.count);
    }
    if (historyMessages > load.acknowledged.count) load.requireNoGaps();
    load.count(tally);
  } finally {
    await server[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  }
}

interface FedEvent extends ReceivedEvent {
  readonly origin?: string;
  readonly originid?: string;
}

/**
 * @param events what a topic retains, and
 * @param fed what its feed retains of it, the oldest first
 * @throws unless the feed has each message once and in order, and all of them if nothing was deleted
 */
function checkFed(events: readonly ReceivedEvent[], fed: readonly FedEvent[], isWhole: boolean): void {
  const shown = new Map(events.map(({ id, data }) => [id, data]));
  for (const [index, { originid = "", data }] of fed.entries()) {
    const before = fed[index - 1]?.originid ?? "";
    if (index > 0 && offsetOf(originid) !== offsetOf(before) + 1)
      throw new Error(`in the feed, ${originid} came after ${before}`);
    if (shown.has(originid) ? shown.get(originid) !== data : isWhole)
      throw new Error(`${originid} is "${shown.get(originid)}", and "${data}" in the feed`);
  }
  if (isWhole && fed.length !== events.length)
    throw new Error(`the feed has ${fed.length} of ${events.length} messages`);
}

async function killAndStart(
  server: RunningServer,
  flags: readonly string[],
  { random, spawn, tally }: Pick<KillRun, "random" | "spawn" | "tally">,
): Promise<RunningServer> {
  server.process.kill("SIGKILL");
  await server.process.exited;
  tally.kills++;
  const options = { ...spawn, withoutPort: true };
  while (random.chance(0.3)) {
    // Within the start: while the directory is taken over, or just after.
    const starting = spawnServer(flags, { ...options, killAfterMilliseconds: random.between(20, 200) });
    await starting.then(
      (started) => started[Symbol.asyncDispose](),
      () => undefined, // It was killed before it was ready.
    );
    tally.killsAtStart++;
  }
  return await spawnServer(flags, options);
}

/** Publishers that repeat until they have an answer, and followers that return until they have everything. */
export class Load {
  readonly topics = [...topics, ...others];
  readonly acknowledged = new Acknowledged();
  readonly #server: Pick<RunningServer, "url" | "socketUrl">;
  readonly #followers: readonly Follower[];
  readonly #tally: KillTally;
  #isFinishing = false;

  constructor(server: Pick<RunningServer, "url" | "socketUrl">, random: Random, tally: KillTally) {
    this.#server = server;
    this.#tally = tally;
    this.#followers = Object.entries(openLines).flatMap(([name, open]) =>
      topics.map((topic) => new Follower(name, [topic], openSurviving(open(server)), random)),
    );
  }

  /** Resolves when every publisher was told to finish and has, and every follower has the last message. */
  async run(): Promise<void> {
    const following = Promise.all(this.#followers.map((follower) => follower.follow()));
    const publishing = topics.map(async (topic) => {
      await Promise.all(["a", "b", "c"].map((name) => this.#publishEach(topic, name)));
      await this.#publish(topic, lastMessage, `${topic} last`);
    });
    await Promise.all([following, ...publishing, this.#publishToOthers()]);
  }

  /** However busy the machine is, each kill falls into a load, and cuts off each follower. @param kills so far */
  async isUnderWay(kills: number): Promise<void> {
    await until(
      () =>
        this.acknowledged.count >= (kills + 1) * 25 &&
        this.#followers.every(({ connections }) => connections > kills),
      "publications and followers after a kill",
      60,
    );
  }

  finish(): void {
    this.#isFinishing = true;
  }

  /** @param events everything that the topic retains */
  check(topic: string, events: readonly ReceivedEvent[]): void {
    this.acknowledged.check(topic, events);
    for (const { received } of this.#followers)
      for (const { id, data } of events) {
        const body = received.get(`${topic} ${id}`);
        if (body !== undefined && body !== data) throw new Error(`${id} was received as "${body}"`);
      }
  }

  requireNoGaps(): void {
    if (this.#followers.some(({ gaps }) => gaps > 0)) throw new Error("a follower was told a gap");
  }

  count(tally: KillTally): void {
    tally.acknowledged += this.acknowledged.count;
    for (const { gaps, connections } of this.#followers) {
      tally.gaps += gaps;
      tally.returns += connections - 1;
    }
  }

  async #publishEach(topic: string, name: string): Promise<void> {
    for (let count = 0; !this.#isFinishing; count++)
      await this.#publish(topic, `${name} ${count}`, `${topic} ${name} ${count}`);
  }

  async #publishToOthers(): Promise<void> {
    let count = 0;
    for (; count < others.length || !this.#isFinishing; count++) {
      const topic = others[count % others.length] ?? "";
      await this.#publish(topic, `${count}`, `${topic} ${count}`);
    }
  }

  async #publish(topic: string, body: string, key: string): Promise<void> {
    for (;;) {
      const id = await this.#tryToPublish(topic, body, key);
      if (id !== undefined) {
        this.acknowledged.add(topic, id, body);
        return;
      }
      this.#tally.repeats++;
      await Bun.sleep(20); // The server is being started.
    }
  }

  async #tryToPublish(topic: string, body: string, key: string): Promise<string | undefined> {
    let response: Response;
    let text: string;
    try {
      response = await fetch(topicsUrl(this.#server, topic), {
        method: "POST",
        body,
        headers: { "Content-Type": "text/plain", "Idempotency-Key": key },
      });
      text = await response.text();
    } catch (error) {
      if (error instanceof Error) return undefined; // Killed: whether it was published is unknown.
      throw error;
    }
    if (response.status === 503) return undefined;
    if (response.status !== 200) throw new Error(`publishing was answered with ${response.status}: ${text}`);
    return JSON.parse(text).published[0].id;
  }
}
