/**
 * Reads at the nearest replica, on the connection that hears its announcements. Only "complete" is believed of a replica: a
 * gap, an absence, another epoch or another generation is asked of the primary, and so is everything while no beat arrives.
 * A replica that lags behind what this node knows is waited for, but not for long.
 */
import type { History, Page } from "../../topic/broker.ts";
import type { Position, TopicPosition } from "../../topic/message.ts";
import type { RedisKeys } from "./keys.ts";
import type { RedisConnection, Reply } from "./link.ts";
import { historyOf, positionOf } from "./replies.ts";
import { type NearScriptName, nearScriptTexts, type ScriptSettings } from "./scripts.ts";
import { parseInfo } from "./server.ts";

/** Pauses before a replica that lags is asked again; then the primary is. */
const pausesMilliseconds = [5, 10, 20, 40, 80, 150] as const;

export interface NearDeps {
  readonly keys: RedisKeys;
  readonly settings: ScriptSettings;
  /** Which topics are keyed, as positions.lua takes it. */
  readonly kindsOf: (topics: readonly string[]) => string;
  /** The connection to the replica; undefined where there is none now, or it is in doubt whether it follows the primary. */
  readonly connection: () => RedisConnection | undefined;
  /** The generation of the primary; undefined until it was reached. */
  readonly generation: () => number | undefined;
  /** The last positions of a topic that this node knows of. */
  readonly known: (topic: string) => readonly Position[];
}

export class Near {
  /** Answers of the replica that were believed, and questions that the primary had to be asked. */
  readonly reads = { replica: 0, primary: 0 };
  readonly #deps: NearDeps;
  #digests: ReadonlyMap<NearScriptName, string> = new Map();

  constructor(deps: NearDeps) {
    this.#deps = deps;
  }

  /** Prepares a new connection. @throws {Error} where it leads to no replica that follows its primary */
  async prepare(connection: RedisConnection): Promise<void> {
    await requireReplica(connection);
    const digests = new Map<NearScriptName, string>();
    for (const [name, text] of Object.entries(nearScriptTexts(this.#deps.settings)))
      digests.set(name as NearScriptName, String(await connection.command(["SCRIPT", "LOAD", text])));
    this.#digests = digests;
  }

  /** @returns what follows `since`, complete; undefined where the primary is to be asked */
  history(
    topic: string,
    since: Position,
    { messagesMax, bytesMax }: Page,
    keptMilliseconds: number,
  ): Promise<History | undefined> {
    const { keys } = this.#deps;
    const values = ["position", since.epoch, since.offset, messagesMax, bytesMax, keptMilliseconds].map(
      String,
    );
    return this.#read(topic, since, async () => {
      const reply = await this.#script("nearRead", [keys.position(topic), keys.log(topic)], values);
      const history = Array.isArray(reply) ? historyOf(topic, reply) : undefined;
      return history && { answer: history, position: history.position, isComplete: history.complete };
    });
  }

  /** @returns the position of a topic; undefined where the primary is to be asked */
  position(topic: string): Promise<TopicPosition | undefined> {
    return this.#read(topic, undefined, async () => {
      const { keys, kindsOf } = this.#deps;
      const reply = await this.#script("nearPositions", [keys.position(topic)], ["0", kindsOf([topic])]);
      const [found] = Array.isArray(reply) ? reply : [];
      if (!Array.isArray(found)) return undefined;
      const position = positionOf(topic, found);
      return { answer: position, position, isComplete: true };
    });
  }

  /** @param since the position that was asked for: the replica must be that far, too */
  async #read<Answer>(
    topic: string,
    since: Position | undefined,
    ask: () => Promise<
      { readonly answer: Answer; readonly position: Position; readonly isComplete: boolean } | undefined
    >,
  ): Promise<Answer | undefined> {
    for (const pauseMilliseconds of [0, ...pausesMilliseconds]) {
      if (pauseMilliseconds > 0) await Bun.sleep(pauseMilliseconds);
      const found = await ask();
      if (!found) break;
      const known = [...this.#deps.known(topic), ...(since ? [since] : [])];
      if (known.some(({ epoch }) => epoch !== found.position.epoch)) break;
      if (known.some(({ offset }) => offset > found.position.offset)) continue; // It lags.
      if (!found.isComplete) break;
      this.reads.replica++;
      return found.answer;
    }
    this.reads.primary++;
    return undefined;
  }

  /** @returns undefined where it has no answer: the connection says why when it ends */
  async #script(
    name: NearScriptName,
    keys: readonly string[],
    values: readonly string[],
  ): Promise<Reply | undefined> {
    const connection = this.#deps.connection();
    const generation = this.#deps.generation();
    if (!connection || generation === undefined) return undefined;
    const all = [this.#deps.keys.fence, ...keys];
    const command = [
      "EVALSHA",
      this.#digests.get(name) ?? "",
      String(all.length),
      ...all,
      ...values,
      String(generation),
    ];
    return await connection.command(command).catch(() => undefined);
  }
}

/** @throws {Error} with the reason in words */
async function requireReplica(connection: RedisConnection): Promise<void> {
  const info = parseInfo(String(await connection.command(["INFO", "replication"])));
  if (info.get("role") !== "slave") throw new Error("the server of --redis-replica is no replica");
  if (info.get("master_link_status") !== "up")
    throw new Error("the replica of --redis-replica is not connected to its primary");
}
