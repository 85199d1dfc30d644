/**
 * Flags, environment variables and files, read into the values of settings. A flag outranks its variable.
 *
 * Written by hand because every start of the server reads its flags: a library for it costs as much as half of the rest.
 */
import { readFileSync } from "node:fs";
import { environmentName, type Setting, type Settings } from "../settings/config.ts";
import { nearest } from "../settings/nearest.ts";
import { UnitError } from "../settings/unit-error.ts";

/** A mistake in the command line or the environment. The message is one line, and a sentence. */
export class UsageError extends Error {
  override readonly name = "UsageError";

  /** @param what without the full stop that ends it */
  constructor(what: string) {
    super(`${what}.`);
  }
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
export type InformationFlag = "help" | "version";

const requests: Readonly<Record<string, InformationFlag>> = {
  "-h": "help",
  "--help": "help",
  "-v": "version",
  "--version": "version",
};

type Environment = Readonly<Record<string, string | undefined>>;

/** The variables that begin as those of settings do. */
export const variablesOf = (environment: Environment): string[] =>
  Object.keys(environment).filter((name) => name.startsWith(environmentName("")));

/**
 * Refuses a variable that no setting has, as a mistyped flag is refused: its setting would keep its default in silence.
 * @param known the settings of every command, which may share an environment
 * @throws {UsageError}
 */
export function refuseUnknownVariables(environment: Environment, known: readonly Settings[]): void {
  const variables = new Set(known.flatMap(flagsOf).map(({ variable }) => variable));
  for (const name of variablesOf(environment)) {
    if (variables.has(name) || isServiceLink(name, environment[name])) continue;
    const meant = nearest(name, [...variables]);
    throw new UsageError(
      `There is no variable ${name}; ${meant ? `the nearest is ${meant}` : "longwire --help shows all flags, and each is one"}`,
    );
  }
}

/** Kubernetes sets such variables in every pod for a service whose name begins with longwire. */
const isServiceLink = (name: string, value = ""): boolean =>
  /_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name) ||
  (name.endsWith("_PORT") && /^(tcp|udp|sctp):/.test(value));

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
): Readonly<Record<string, unknown>> | InformationFlag {
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
interface GivenFlag {
  readonly text: string;
  /** The variable that it comes from; undefined for the command line. */
  readonly source?: string;
}

function wordsByFlag(
  words: readonly string[],
  flags: ReadonlyMap<string, Flag>,
): Map<Flag, readonly GivenFlag[]> | InformationFlag {
  const given = new Map<Flag, readonly GivenFlag[]>();
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    const request = requests[word];
    if (request) return request;
    if (!word.startsWith("-")) throw new UsageError(`There is one argument too many: "${word}"`);
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
  const meant = nearest(name, known);
  return new UsageError(
    `There is no flag ${name}; ${meant ? `the nearest is ${meant}` : "--help shows all"}`,
  );
}

/** `PORT` is set by hosting platforms. */
function fromEnvironment({ word, variable }: Flag, environment: Environment): readonly GivenFlag[] {
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
  return accept(`--${setting.flag}`, path, () => setting.unit.accept(items));
}
