/** The command line and the environment, read into a Config. A flag outranks its variable. */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { version } from "../package.json";
import { type Config, completeConfig, environmentName, type Setting, settings } from "./config.ts";
import { UnitError } from "./units.ts";

/** The process is to end and no server to start: with 0 after `--help` and `--version`, with 2 after a mistake. */
export class CommandLineEnd extends Error {
  constructor(readonly exitCode: 0 | 2) {
    super(`the command line ends the process with exit code ${exitCode}`);
  }
}

/**
 * Prints the help, the version, or what is wrong.
 * @param words what stands behind the program's name
 * @throws {CommandLineEnd}
 */
export function readCommandLine(words: readonly string[]): Config {
  const command = new Command("longwire")
    .description("A long-connection server. Start it and open the address that it prints.")
    .version(version, "-v, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .addHelpText(
      "after",
      "\nA flag outranks its environment variable. PORT is read where LONGWIRE_PORT is not set.",
    )
    .allowExcessArguments(false)
    .configureOutput({ outputError: (text, write) => write(oneLine(text)) })
    .exitOverride();
  const options = Object.entries(settings).map(([name, setting]) => [name, optionOf(setting)] as const);
  for (const [, option] of options) command.addOption(option);
  try {
    const values = command.parse(words, { from: "user" }).opts();
    return completeConfig(
      settings,
      Object.fromEntries(options.map(([name, option]) => [name, values[option.attributeName()]])),
    );
  } catch (error) {
    if (error instanceof CommanderError) throw new CommandLineEnd(error.exitCode === 0 ? 0 : 2);
    throw error;
  }
}

function optionOf({ flag, unit, default: standard, help }: Setting<unknown>): Option {
  return new Option(`--${flag} ${unit.placeholder}`, help)
    .default(standard, unit.show(standard))
    .env(variableOf(flag))
    .argParser((text) => {
      try {
        return unit.parse(text);
      } catch (error) {
        if (error instanceof UnitError) throw new InvalidArgumentError(`It ${error.message}.`);
        throw error;
      }
    });
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
