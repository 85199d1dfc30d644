/** Reads the command line and the environment: which command, and its settings. */
import { completeConfig, settings } from "../settings/config.ts";
import type { CommandLine } from "./commands.ts";
import { readFlags, variablesOf } from "./flags.ts";

/**
 * Loads what only other commands need with them.
 * @param words those after the program's name
 * @throws {UsageError}
 */
export async function readCommandLine(words: readonly string[]): Promise<CommandLine> {
  const commands = (): Promise<typeof import("./commands.ts")> => import("./commands.ts");
  const [command] = words;
  if (command !== undefined && !command.startsWith("-"))
    return await (await commands()).readCommand(command, words.slice(1));
  const values = readFlags(words, settings, process.env);
  if (typeof values === "string") return await (await commands()).answerTo(values, "serverHelp");
  if (variablesOf(process.env).length > 0) (await commands()).refuseOtherVariables();
  return { command: "serve", config: completeConfig(settings, values) };
}
