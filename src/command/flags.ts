/**
 * Flags, environment variables and files, read into the values of settings. A flag outranks its variable.
 *
 * Written by hand because every start of the server reads its flags: a library for it costs as much as half of the rest.
 */
import { readFileSync } from "node:fs";
import { environmentName, type Setting } from "../settings/config.ts";
import { UnitError } from "../settings/units.ts";

/** A mistake in the command line or the environment. The message is one line. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A flag: that of a setting, or the one that names a file from which the setting is read. */
export interface Flag {
  /** With its hyphens. */
  readonly word: string;
  readonly variable: string;
  /** The key of its setting. */
  readonly name: string;
  readonly setting: Setting<unknown>;
  readonly isFile: boolean;
}

/** A word of the command line that is no setting. */
type Request = "help" | "version";

const requests: Readonly<Record<string, Request>> = {
  "-h": "help",
  "--help": "help",
  "-v": "version",
  "--version": "version",
};

type Settings = Readonly<Record<string, Setting<unknown>>>;
type Environment = Readonly<Record<string, string | undefined>>;

export function flagsOf(settings: Settings): Flag[] {
  return Object.entries(settings).flatMap(([name, setting]) => {
    const own = flagNamed(setting.flag, name, setting, false);
    return setting.fromFile ? [own, flagNamed(`${setting.flag}-file`, name, setting, true)] : [own];
  });
}

const flagNamed = (flag: string, name: string, setting: Setting<unknown>, isFile: boolean): Flag => ({
  word: `--${flag}`,
  variable: environmentName(flag),
  name,
  setting,
  isFile,
});

/**
 * Reads the words after the command's name.
 * @returns the given values by setting, or a request for something else
 * @throws {UsageError}
 */
export function readFlags(
  words: readonly string[],
  settings: Settings,
  environment: Environment,
): Readonly<Record<string, unknown>> | Request {
  const flags = flagsOf(settings);
  const given = wordsByFlag(words, new Map(flags.map((flag) => [flag.word, flag])));
  if (typeof given === "string") return given;
  const values: Record<string, unknown> = {};
  for (const flag of flags) {
    for (const { text, source } of given.get(flag) ?? fromEnvironment(flag, environment)) {
      const value = flag.isFile ? readFile(flag, text, source) : read(flag, text, source);
      // Several values of a list are one list, whether they come from flags, a variable or files.
      const before = values[flag.name];
      const isListed = Array.isArray(before) && Array.isArray(value);
      values[flag.name] = isListed ? [...before, ...value] : value;
    }
  }
  return values;
}

/** A value as it was typed. */
interface Given {
  readonly text: string;
  /** The variable that it comes from; undefined for the command line. */
  readonly source?: string;
}

function wordsByFlag(
  words: readonly string[],
  flags: ReadonlyMap<string, Flag>,
): Map<Flag, readonly Given[]> | Request {
  const given = new Map<Flag, readonly Given[]>();
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    const request = requests[word];
    if (request) return request;
    if (!word.startsWith("-")) throw new UsageError(`there is one argument too many: "${word}"`);
    const [, name = word, inline] = /^([^=]+)=(.*)$/s.exec(word) ?? [];
    const flag = flags.get(name);
    if (!flag) throw unknownFlag(name, [...flags.keys()]);
    let text = inline;
    if (text === undefined) {
      const next = words[index + 1];
      const isValue = next !== undefined && !isFlag(next, flags) && !(isSwitch(flag) && next.startsWith("-"));
      if (isValue) index++;
      text = isValue ? next : impliedValue(flag);
    }
    given.set(flag, [...(given.get(flag) ?? []), { text }]);
  }
  return given;
}

const isFlag = (word: string, flags: ReadonlyMap<string, Flag>): boolean =>
  word in requests || flags.has(word.split("=", 1)[0] ?? "");

/** A switch needs no value. */
const isSwitch = ({ setting, isFile }: Flag): boolean => setting.takes === "none" && !isFile;

function impliedValue(flag: Flag): string {
  if (isSwitch(flag)) return "true";
  const { word, setting, isFile } = flag;
  throw new UsageError(`${word} needs a value: ${word} ${isFile ? "<path>" : setting.unit.placeholder}`);
}

function unknownFlag(name: string, known: readonly string[]): UsageError {
  const [nearest] = known
    .map((word) => ({ word, distance: editDistance(name, word) }))
    .toSorted((a, b) => a.distance - b.distance);
  const isTypo = nearest !== undefined && nearest.distance <= typoDistanceMax;
  return new UsageError(
    `there is no flag ${name}; ${isTypo ? `the nearest is ${nearest.word}` : "--help shows all"}`,
  );
}

const typoDistanceMax = 3;

/** The number of characters to insert, delete or replace to turn one text into another (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (const [index, character] of [...from].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= to.length; column++) {
      const replaced = (row[column - 1] ?? 0) + (character === to[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/** `PORT` is set by hosting platforms. */
function fromEnvironment({ word, variable }: Flag, environment: Environment): readonly Given[] {
  const source = word === "--port" && environment[variable] === undefined ? "PORT" : variable;
  const text = environment[source];
  // An empty PORT is none; an empty variable of ours is a mistake where it is one as a flag.
  return text === undefined || (source === "PORT" && text === "") ? [] : [{ text, source }];
}

function read({ word, setting }: Flag, text: string, source: string | undefined): unknown {
  if (setting.isKey && text.trim() === "") throw new UsageError(`${source ?? word} is empty`);
  return accept(word, source, () => setting.unit.parse(text));
}

function accept(word: string, source: string | undefined, readValue: () => unknown): unknown {
  try {
    return readValue();
  } catch (error) {
    if (!(error instanceof UnitError)) throw error;
    throw new UsageError(`${source === undefined ? "" : `${source}: `}${word} ${error.message}`);
  }
}

/** Reads a list with one item per line or PEM block. */
function readFile({ word, setting }: Flag, path: string, source = word): unknown {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const cause = error instanceof Error ? error.message : error;
    throw new UsageError(`${source}: ${path} cannot be read: ${cause}`);
  }
  const items = text
    .split(setting.fromFile === "lines" ? "\n" : /(?=^-----BEGIN )/m)
    .map((item) => item.trim())
    .filter((item) => item !== "");
  if (items.length === 0) throw new UsageError(`${source}: ${path} is empty`);
  return accept(`--${setting.flag}`, path, () => setting.unit.check(items));
}
