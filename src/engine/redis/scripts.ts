/** The Lua scripts that run in Redis: one for each step of the engine, so that each step is atomic. */

import append from "#redis/append.lua" with { type: "text" };
import beat from "#redis/beat.lua" with { type: "text" };
import fence from "#redis/fence.lua" with { type: "text" };
import forks from "#redis/forks.lua" with { type: "text" };
import inspect from "#redis/inspect.lua" with { type: "text" };
import log from "#redis/log.lua" with { type: "text" };
import near from "#redis/near.lua" with { type: "text" };
import position from "#redis/position.lua" with { type: "text" };
import positions from "#redis/positions.lua" with { type: "text" };
import read from "#redis/read.lua" with { type: "text" };
import subscribe from "#redis/subscribe.lua" with { type: "text" };
import take from "#redis/take.lua" with { type: "text" };
import testify from "#redis/testify.lua" with { type: "text" };
import { idempotencySeconds } from "../../topic/broker.ts";

export interface ScriptSettings {
  readonly positionAgeSeconds: number;
  /** Replicas that must have each append before it is acknowledged. */
  readonly acknowledge: number;
  /** Whether the operator says that a failover loses no acknowledged message. */
  readonly losslessFailover: boolean;
  /** Milliseconds to add to the clock of Redis, in Lua. Only tests have it. */
  readonly clockAhead?: string;
}

export type ScriptName =
  | "append"
  | "beat"
  | "inspect"
  | "positions"
  | "read"
  | "subscribe"
  | "take"
  | "testify";

/** Scripts that run at a replica. */
export type NearScriptName = "nearPositions" | "nearRead";

/** The scripts' texts. Settings are literals in them. */
export function scriptTexts(settings: ScriptSettings): Readonly<Record<ScriptName, string>> {
  const text = textOf(settings, [fence, position]);
  return {
    append: text(forks, append),
    beat: text(beat),
    inspect: text(log, inspect),
    positions: text(positions),
    read: text(log, read),
    subscribe: text(forks, subscribe),
    take: text(take),
    testify: text(testify),
  };
}

export function nearScriptTexts(settings: ScriptSettings): Readonly<Record<NearScriptName, string>> {
  const text = textOf(settings, [near, position]);
  return { nearPositions: text(positions), nearRead: text(log, read) };
}

function textOf(settings: ScriptSettings, begin: readonly string[]): (...parts: readonly string[]) => string {
  const literals: Record<string, string> = {
    LOSSLESS: String(settings.losslessFailover),
    ACKNOWLEDGE: String(settings.acknowledge),
    POSITION_SECONDS: String(settings.positionAgeSeconds),
    KEY_SECONDS: String(idempotencySeconds),
    CLOCK_AHEAD: settings.clockAhead ?? "0",
  };
  return (...parts) =>
    [...begin, ...parts].join("\n").replace(/\b[A-Z]+_?[A-Z]+\b/g, (name) => literals[name] ?? name);
}
