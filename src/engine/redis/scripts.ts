/** The Lua scripts that run in Redis: one for each step of the engine, so that each step is atomic. */

import agree from "#redis/agree.lua" with { type: "text" };
import append from "#redis/append.lua" with { type: "text" };
import appendEach from "#redis/append-each.lua" with { type: "text" };
import appendFeeds from "#redis/append-feeds.lua" with { type: "text" };
import appendKeyed from "#redis/append-keyed.lua" with { type: "text" };
import beat from "#redis/beat.lua" with { type: "text" };
import entry from "#redis/entry.lua" with { type: "text" };
import fence from "#redis/fence.lua" with { type: "text" };
import forks from "#redis/forks.lua" with { type: "text" };
import inspect from "#redis/inspect.lua" with { type: "text" };
import keyed from "#redis/keyed.lua" with { type: "text" };
import log from "#redis/log.lua" with { type: "text" };
import members from "#redis/members.lua" with { type: "text" };
import near from "#redis/near.lua" with { type: "text" };
import positions from "#redis/positions.lua" with { type: "text" };
import present from "#redis/present.lua" with { type: "text" };
import read from "#redis/read.lua" with { type: "text" };
import readKeyed from "#redis/read-keyed.lua" with { type: "text" };
import stored from "#redis/stored.lua" with { type: "text" };
import subscribe from "#redis/subscribe.lua" with { type: "text" };
import take from "#redis/take.lua" with { type: "text" };
import testify from "#redis/testify.lua" with { type: "text" };
import value from "#redis/value.lua" with { type: "text" };
import watch from "#redis/watch.lua" with { type: "text" };
import { idempotencySeconds } from "../../topic/broker.ts";
import type { PresenceLimits } from "../engine.ts";
import { digestOfKinds, type Kinds } from "./kinds.ts";

export interface ScriptSettings extends Kinds {
  readonly positionAgeSeconds: number;
  /** Replicas that must have each append before it is acknowledged. */
  readonly acknowledge: number;
  /** Whether a promotion is a possible loss only if a node proves it. */
  readonly losslessFailover: boolean;
  /** Undefined where no topic has presence. */
  readonly presenceLimits?: PresenceLimits | undefined;
  /** Milliseconds to add to the clock of Redis, in Lua. Only tests have it. */
  readonly clockAhead?: string;
}

export type ScriptName =
  | "agree"
  | "append"
  | "beat"
  | "inspect"
  | "positions"
  | "present"
  | "read"
  | "readKeyed"
  | "subscribe"
  | "take"
  | "testify"
  | "value"
  | "watch";

/** Scripts that run at a replica. */
export type NearScriptName = "nearPositions" | "nearRead";

/**
 * A server that was promoted has an append if it has this much more than the server had before the append's writes. They take
 * more, and are applied as one; a SELECT before them takes less.
 */
const appendBytes = 64;

/** A node that has not beaten for so long is forgotten. Until then its entry only makes a takeover wait for a lease. */
const nodeMilliseconds = 60_000;

export function scriptTexts(settings: ScriptSettings): Readonly<Record<ScriptName, string>> {
  const text = textOf(settings, fence);
  const appending = [entry, forks, appendKeyed, appendFeeds, append];
  return {
    agree: [constantsOf(settings), agree].join("\n"),
    append: text(...appending, appendEach),
    beat: text(beat),
    inspect: text(entry, log, inspect),
    positions: text(positions),
    present: text(...appending, members, present),
    read: text(entry, log, read),
    readKeyed: text(entry, keyed, readKeyed),
    subscribe: text(entry, forks, subscribe),
    take: text(take),
    testify: text(testify),
    value: text(entry, keyed, value),
    watch: text(...appending, members, watch),
  };
}

export function nearScriptTexts(settings: ScriptSettings): Readonly<Record<NearScriptName, string>> {
  const text = textOf(settings, near);
  return { nearPositions: text(positions), nearRead: text(entry, log, read) };
}

/** @param begin the part that every script begins with, after the constants and what reads and writes the keys */
function textOf(settings: ScriptSettings, begin: string): (...parts: readonly string[]) => string {
  const constants = constantsOf(settings);
  return (...parts) => [constants, stored, begin, ...parts].join("\n");
}

function constantsOf(settings: ScriptSettings): string {
  const { presenceLimits } = settings;
  const constants = {
    LOSSLESS: settings.losslessFailover,
    ACKNOWLEDGE: settings.acknowledge,
    APPEND_BYTES: appendBytes,
    POSITION_MILLISECONDS: settings.positionAgeSeconds * 1000,
    KEY_SECONDS: idempotencySeconds,
    NODE_MILLISECONDS: nodeMilliseconds,
    KINDS: `'${digestOfKinds(settings)}'`,
    GRACE: (presenceLimits?.presenceGraceSeconds ?? 0) * 1000,
    MEMBERS_MAX: presenceLimits?.presenceMembersMax ?? 0,
    CLOCK_AHEAD: settings.clockAhead ?? "0",
  };
  return Object.entries(constants)
    .map(([name, value]) => `local ${name} = ${value}`)
    .join("\n");
}
