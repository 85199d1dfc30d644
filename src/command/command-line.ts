/** The command line and the environment, read into a Config. A flag outranks its variable. */
import { readFileSync } from "node:fs";
import { Command, CommanderError, InvalidArgumentError, Option, type OptionValues } from "commander";
import { version } from "../../package.json";
import { type Config, completeConfig, environmentName, type Setting, settings } from "../settings/config.ts";
import { duration, name, topicPatterns, UnitError } from "../settings/units.ts";
import type { TokenClaims } from "./token.ts";

/** The process is to end and no server to start: with 0 after `--help` and `--version`, with 2 after a mistake. */
export class CommandLineEnd extends Error {
  constructor(readonly exitCode: 0 | 2) {
    super(`the command line ends the process with exit code ${exitCode}`);
  }
}

/** What the command line asks for. */
export type CommandLine =
  | { readonly command: "serve"; readonly config: Config }
  | { readonly command: "token"; readonly claims: TokenClaims };

/**
 * Prints the help, the version, or what is wrong.
 * @param words what stands behind the program's name
 * @throws {CommandLineEnd}
 */
export function readCommandLine(words: readonly string[]): CommandLine {
  let read: CommandLine | undefined;
  const program = commandNamed("longwire")
    .description("A long-connection server. Start it and open the address that it prints.")
    .version(version, "-v, --version", "print the version")
    .addHelpText(
      "after",
      "\nA flag outranks its environment variable. PORT is read where LONGWIRE_PORT is not set.",
    );
  const readConfig = addSettings(program, settings);
  program.action(() => {
    read = { command: "serve", config: completeConfig(settings, readConfig(program.opts())) };
  });
  program.addCommand(
    tokenCommand((claims) => {
      read = { command: "token", claims };
    }),
  );
  try {
    program.parse(words, { from: "user" });
  } catch (error) {
    if (error instanceof SecretError) {
      console.error(`longwire: ${error.message}.`);
      throw new CommandLineEnd(2);
    }
    if (error instanceof CommanderError) throw new CommandLineEnd(error.exitCode === 0 ? 0 : 2);
    throw error;
  }
  if (!read) throw new Error("commander ran no command");
  return read;
}

function commandNamed(name: string): Command {
  return new Command(name)
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .allowExcessArguments(false)
    .enablePositionalOptions() // Else `longwire token --jwt-secret …` would set the server's.
    .configureOutput({ outputError: (text, write) => write(oneLine(text)) })
    .exitOverride();
}

const tokenSettings = {
  jwtSecrets: settings.jwtSecrets,
  subscribe: {
    flag: "subscribe",
    unit: topicPatterns,
    default: [],
    help: "topics it may subscribe to",
    takes: "many",
  },
  publish: {
    flag: "publish",
    unit: topicPatterns,
    default: [],
    help: "topics it may publish to",
    takes: "many",
  },
  ttlSeconds: {
    flag: "ttl",
    unit: duration(1, 10 * 365 * 86_400),
    default: 3600,
    help: "how long it is taken",
  },
  subject: { flag: "sub", unit: name, default: "", help: "whose it is" },
} as const;

function tokenCommand(use: (claims: TokenClaims) => void): Command {
  const command = commandNamed("token").description("Print a token for a client, signed with --jwt-secret.");
  const readSettings = addSettings(command, tokenSettings);
  return command.action(() => {
    const { jwtSecrets, subscribe, publish, ttlSeconds, subject } = completeConfig(
      tokenSettings,
      readSettings(command.opts()),
    );
    const [secret] = jwtSecrets;
    if (secret === undefined) {
      return command.error("error: --jwt-secret is needed, the one that the server was given");
    }
    use({ secret, subscribe, publish, ttlSeconds, subject: subject || undefined });
  });
}

/** Declares a flag and a variable for each setting. @returns what reads their values once the words were parsed */
function addSettings(
  command: Command,
  declared: Record<string, Setting<unknown>>,
): (values: OptionValues) => Record<string, unknown> {
  const options = Object.entries(declared).map(([name, setting]) => ({ name, ...optionsOf(setting) }));
  for (const { option, fileOption } of options) {
    command.addOption(option);
    if (fileOption) command.addOption(fileOption);
  }
  return (values) =>
    Object.fromEntries(
      options.map(({ name, option, fileOption }) => {
        const value: unknown = values[option.attributeName()];
        const fromFile: unknown = fileOption && values[fileOption.attributeName()];
        return [name, Array.isArray(value) && Array.isArray(fromFile) ? [...value, ...fromFile] : value];
      }),
    );
}

function optionsOf(setting: Setting<unknown>): { option: Option; fileOption?: Option } {
  const { flag, unit, default: defaultValue, help, takes, fromFile } = setting;
  const value = takes === "none" ? "[true|false]" : unit.placeholder;
  const option = new Option(
    `--${flag} ${value}`,
    takes === "many" ? `${help}; commas between, or again` : help,
  )
    .default(defaultValue, unit.show(defaultValue) || "none")
    .env(variableOf(flag))
    .argParser((text, before) => join(defaultValue, before, parse(setting, text)));
  if (takes === "none") option.preset("true");
  if (!fromFile) return { option };
  const lines = fromFile === "lines" ? ", one a line" : "";
  const fileOption = new Option(`--${flag}-file <path>`, `file to read --${flag} from${lines}`)
    .default([], "none")
    .env(variableOf(`${flag}-file`))
    .argParser((path, before) =>
      join(
        defaultValue,
        before,
        accept(setting, () => unit.check(readFile(path, fromFile))),
      ),
    );
  return { option, fileOption };
}

/** A secret that is wrong. Commander's own error would show what was typed. */
class SecretError extends Error {}

function parse(setting: Setting<unknown>, text: string): unknown {
  if (setting.isKey && text.trim() === "") throw new InvalidArgumentError("It is empty.");
  return accept(setting, () => setting.unit.parse(text));
}

function accept({ flag, unit }: Setting<unknown>, read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof UnitError)) throw error;
    if (unit.isSecret) throw new SecretError(`--${flag} ${error.message}`);
    throw new InvalidArgumentError(`It ${error.message}.`);
  }
}

/** Lists grow each time their flag is given; what is given replaces the default. */
function join(defaultValue: unknown, before: unknown, value: unknown): unknown {
  return Array.isArray(value) && Array.isArray(before) && before !== defaultValue
    ? [...before, ...value]
    : value;
}

/** @returns at least one */
function readFile(path: string, content: "lines" | "pem"): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new InvalidArgumentError(`It cannot be read: ${error instanceof Error ? error.message : error}.`);
  }
  const items = text
    .split(content === "lines" ? "\n" : /(?=^-----BEGIN )/m)
    .map((item) => item.trim())
    .filter((item) => item !== "");
  if (items.length === 0) throw new InvalidArgumentError("It is empty.");
  return items;
}

/** Commander puts its guess at what was meant on a second line. */
function oneLine(error: string): string {
  return `${error
    .trim()
    .replace(/^error: /, "longwire: ")
    .replaceAll("\n", " ")}\n`;
}

/** `PORT` is what hosting platforms set. */
function variableOf(flag: string): string {
  const name = environmentName(flag);
  return flag === "port" && process.env[name] === undefined && process.env.PORT ? "PORT" : name;
}
