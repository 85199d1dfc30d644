/**
 * What a node says to the primary: the scripts, in the order in which they are sent, each of which notices a server that may
 * have lost something (fence.lua). A new connection is used only when the server is known to be one that can be the engine,
 * has the scripts, and was told what this node knows.
 */
import type { Logger } from "../../log.ts";
import { BrokerUnavailable } from "../../topic/broker.ts";
import { Acknowledging } from "./acknowledging.ts";
import type { RedisKeys } from "./keys.ts";
import { BeatsWatch, digestOfKinds, textOfKinds } from "./kinds.ts";
import { type Argument, Link, type RedisConnection, type Reply, reasonOf } from "./link.ts";
import { topicsPerCommandMax } from "./pieces.ts";
import { arrayOf } from "./replies.ts";
import { type ScriptName, type ScriptSettings, scriptTexts } from "./scripts.ts";
import { parseInfo, unfitnessOf, warningsOf } from "./server.ts";
import type { Testimony } from "./testimony.ts";
import { errorCode, unavailable, wordsOf } from "./unavailable.ts";

/** Beats that fail in a row before the connection is given up: the address may lead to another server by now. */
const failedBeatsMax = 5;

const closeMilliseconds = 1000;

/** What the primary says of itself (fence.lua). */
export interface Fence {
  readonly generation: number;
  readonly replid: string;
  /** The last generation that began with a possible loss, and when it began. */
  readonly lossy: number;
  readonly lossyTime: number;
}

export interface PrimaryDeps {
  readonly settings: ScriptSettings & { readonly url: string };
  readonly log: Logger;
  /** Identifies this node. */
  readonly node: string;
  readonly keys: RedisKeys;
  readonly testimony: Testimony;
  readonly up: () => void;
  /** @param reason why the connection ended or could not be opened, in words */
  readonly down: (reason: string) => void;
  /** The server was replaced while it was in use: positions are to be compared. */
  readonly replaced: () => void;
}

export class Primary {
  /** Takeovers with a possible loss that this node saw. */
  losses = 0;
  readonly #deps: PrimaryDeps;
  readonly #link: Link;
  /** The digests by which Redis knows the scripts. */
  #digests: ReadonlyMap<ScriptName, string> = new Map();
  #acknowledging: Acknowledging | undefined;
  #fence: Fence | undefined;
  #refusal: string | undefined;
  /** The generation in which the server was told what this node knows; undefined where that is to be repeated. */
  #testified: number | undefined;
  #warnings = "";
  #failedBeats = 0;
  readonly #othersBeats = new BeatsWatch();
  #isSuperseded = false;

  constructor(deps: PrimaryDeps) {
    this.#deps = deps;
    const { settings, up, down } = deps;
    this.#link = new Link({
      options: { url: settings.url, name: "longwire" },
      opened: (connection) => this.#prepare(connection),
      up,
      down,
    });
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** What the server said of itself last; undefined until it was first reached. */
  get fence(): Fence | undefined {
    return this.#fence;
  }

  /** Why the server takes nothing that is published, such as a full one, in words; undefined if it takes it. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  /** Whether nodes with other `--keyed`, `--feed` or `--presence` have this Redis. The connection is down while they do. */
  get isSuperseded(): boolean {
    return this.#isSuperseded;
  }

  /** @throws {BrokerUnavailable} */
  script(name: ScriptName, keys: readonly string[], values: readonly Argument[]): Promise<Reply> {
    return this.command(this.#scriptCommand(name, keys, values));
  }

  /** @throws {BrokerUnavailable} */
  async command(command: readonly Argument[]): Promise<Reply> {
    const { connection } = this.#link;
    try {
      return await connection.command(command);
    } catch (error) {
      // The scripts are gone. To load them now could bring a later publication before an earlier one.
      if (errorCode(error) === "NOSCRIPT") connection.end("Redis has forgotten the scripts");
      if (errorCode(error) === "KINDS") connection.end(wordsOf(reasonOf(error)));
      throw unavailable(error);
    }
  }

  /** Sends what appends, and waits until enough replicas have it. @throws {BrokerUnavailable} */
  async acknowledged(append: () => Promise<Reply>): Promise<Reply> {
    const { acknowledge } = this.#deps.settings;
    if (acknowledge === 0) return await append();
    const acknowledging = this.#acknowledging;
    if (acknowledging?.isShort) throw new BrokerUnavailable(`fewer than ${acknowledge} replicas acknowledge`);
    const [reply] = await Promise.all([append(), acknowledging?.wait()]);
    return reply;
  }

  /** Sends the beat with this number. @throws {BrokerUnavailable} */
  async beat(number: number): Promise<void> {
    try {
      const { connection } = this.#link;
      this.#fenced(arrayOf(await this.command(this.#beatCommand(number))));
      this.#failedBeats = 0;
      if (this.#testified !== this.#fence?.generation || this.#deps.testimony.hasUnverified)
        await this.#testify(connection);
    } catch (error) {
      if (++this.#failedBeats >= failedBeatsMax) this.#link.drop(reasonOf(error));
      throw error;
    }
    await this.#acknowledging?.tryAgain();
  }

  /** An append of this generation was acknowledged, perhaps after the server was replaced. */
  acknowledgedIn(generation: number): void {
    if (this.#testified !== undefined && generation < this.#testified) this.#testified = undefined;
  }

  async close(): Promise<void> {
    if (this.isUp) {
      const { nodes } = this.#deps.keys;
      const answered = this.command(["ZREM", nodes, this.#deps.node]); // After all that was sent before.
      await Promise.race([answered.catch(() => undefined), Bun.sleep(closeMilliseconds)]);
    }
    await this.#link.close();
  }

  #scriptCommand(name: ScriptName, keys: readonly string[], values: readonly Argument[]): Argument[] {
    return [
      "EVALSHA",
      this.#digests.get(name) ?? "",
      String(keys.length + 1),
      this.#deps.keys.fence,
      ...keys,
      ...values,
      String(this.#fence?.generation ?? ""),
      this.#fence?.replid ?? "",
    ];
  }

  #beatCommand(number: number): Argument[] {
    const { keys, node, settings } = this.#deps;
    const values = [keys.node(node), String(number), node, textOfKinds(settings)];
    return this.#scriptCommand("beat", [keys.probe, keys.nodes], values);
  }

  async #prepare(connection: RedisConnection): Promise<void> {
    const { settings } = this.#deps;
    const info = parseInfo(String(await connection.command(["INFO"])));
    if (info.get("loading") === "1") throw new Error("Redis is loading its data");
    const unfitness = unfitnessOf(info);
    if (unfitness) throw new Error(unfitness);
    await this.#warn(connection, info);
    const digests = new Map<ScriptName, string>();
    for (const [name, text] of Object.entries(scriptTexts(settings)))
      digests.set(name as ScriptName, String(await connection.command(["SCRIPT", "LOAD", text])));
    this.#digests = digests;
    await this.#agree(connection);
    this.#acknowledging = new Acknowledging(connection, settings.acknowledge);
    await this.#testify(connection);
    this.#fenced(arrayOf(await connection.command(this.#beatCommand(0))));
    this.#testified = this.#fence?.generation;
  }

  /** @throws where nodes with other `--keyed`, `--feed` or `--presence` live, or did a moment ago */
  async #agree(connection: RedisConnection): Promise<void> {
    const { settings, keys, node, log } = this.#deps;
    const own = textOfKinds(settings);
    const values = [node, own, this.#othersBeats.still()];
    const reply = await connection.command(this.#scriptCommand("agree", [keys.nodes, keys.probe], values));
    this.#isSuperseded = Array.isArray(reply);
    if (Array.isArray(reply)) {
      const [others, beats = ""] = reply.map(String);
      this.#othersBeats.seen(beats);
      const command = `redis-cli hset ${keys.fence} kinds ${digestOfKinds(settings)}`;
      throw new Error(
        `the nodes of this Redis have ${others}, and this one has ${own}: it waits until the last of them has stopped, or until ${command}`,
      );
    }
    if (reply !== null) log.warn({}, `no node with other settings lives: from now on Redis has ${own}`);
  }

  /** Says what this node knows to have been acknowledged and announced. */
  async #testify(connection: RedisConnection): Promise<void> {
    const { settings, keys, testimony, log } = this.#deps;
    const which = settings.losslessFailover ? "acknowledged" : "all";
    let claims = testimony.claims;
    const first = claims.length > 0 ? [[]] : []; // Appends are told though no topic is known.
    for (const piece of [...testimony.pieces(topicsPerCommandMax / 2, which), ...first]) {
      const positions = piece.map(({ topic }) => keys.position(topic));
      const values = piece.flatMap(({ position: { epoch, offset }, ageMilliseconds }) => [
        epoch,
        offset,
        ageMilliseconds,
      ]);
      const told = [claims.length, ...claims.flat(), ...values].map(String);
      const reply = await connection.command(this.#scriptCommand("testify", positions, told));
      const [generation, lost] = arrayOf(reply).map(Number);
      this.#testified = generation;
      claims = [];
      if (lost) log.error({ lost }, "Redis has lost messages that it had acknowledged");
    }
    testimony.testified();
  }

  /** What the server says of itself; after a takeover positions are to be compared. */
  #fenced(reply: readonly Reply[]): void {
    this.#refused(String(reply[4]));
    const [replid, ...numbers] = reply;
    const [generation = 0, lossy = 0, lossyTime = 0] = numbers.map(Number);
    const before = this.#fence;
    this.#fence = { replid: String(replid), generation, lossy, lossyTime };
    if (before && before.generation !== generation) {
      const isLossy = before.lossy !== lossy;
      if (isLossy) this.losses++;
      this.#deps.log.warn(
        { generation, lossy: isLossy },
        isLossy
          ? "Redis was replaced, flushed or restarted, and may have lost messages: topics begin new epochs"
          : "Redis was replaced or restarted, and lost nothing",
      );
      this.#deps.replaced();
    }
  }

  /** @param error of a write; empty where it succeeded */
  #refused(error: string): void {
    const refusal = error === "" ? undefined : wordsOf(error);
    if (refusal === this.#refusal) return;
    this.#refusal = refusal;
    if (refusal === undefined) this.#deps.log.info({}, "Redis takes publications again");
    else this.#deps.log.warn({ reason: refusal }, "Redis takes no publications, and is read");
  }

  /** Logs what costs safety, once. CONFIG may be forbidden: then some warnings cannot be given. */
  async #warn(connection: RedisConnection, info: ReadonlyMap<string, string>): Promise<void> {
    const config = new Map<string, string>();
    for (const name of ["appendfsync", "min-replicas-to-write"]) {
      const reply = await connection.command(["CONFIG", "GET", name]).catch(() => null);
      const [, value] = Array.isArray(reply) ? reply : [];
      if (value !== undefined) config.set(name, String(value));
    }
    const warnings = warningsOf(info, config);
    if (this.#warnings === warnings.join()) return;
    this.#warnings = warnings.join();
    for (const warning of warnings) this.#deps.log.warn({}, `Redis: ${warning}`);
  }
}
