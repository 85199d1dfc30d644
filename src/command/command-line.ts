/** The command line and the environment: which command, and its settings. */
import { version } from "../../package.json";
import { type Config, completeConfig, settings } from "../settings/config.ts";
import type { DataTask } from "./data.ts";
import { type DataAction, dataActions } from "./data-settings.ts";
import { readFlags, UsageError } from "./flags.ts";
import type { TokenClaims } from "./token.ts";
import { tokenSettings } from "./token-settings.ts";

/** The command that was asked for. */
export type CommandLine =
  | { readonly command: "serve"; readonly config: Config }
  | { readonly command: "token"; readonly claims: TokenClaims }
  | { readonly command: "data"; readonly task: DataTask }
  | { readonly command: "print"; readonly text: string };

/**
 * @param words those after the program's name
 * @throws {UsageError}
 */
export async function readCommandLine(words: readonly string[]): Promise<CommandLine> {
  if (words[0] === "token") return await readTokenCommand(words.slice(1));
  if (words[0] === "data") return await readDataCommand(words.slice(1));
  const values = readFlags(words, settings, process.env);
  if (values === "version") return { command: "print", text: version };
  if (values === "help") return { command: "print", text: (await import("./help.ts")).serverHelp() };
  return { command: "serve", config: completeConfig(settings, values) };
}

async function readTokenCommand(words: readonly string[]): Promise<CommandLine> {
  const values = readFlags(words, tokenSettings, process.env);
  if (values === "version") return { command: "print", text: version };
  if (values === "help") return { command: "print", text: (await import("./help.ts")).tokenHelp() };
  const { jwtSecrets, subscribe, publish, end, ttlSeconds, subject } = completeConfig(tokenSettings, values);
  const [secret] = jwtSecrets;
  if (secret === undefined) throw new UsageError("--jwt-secret is needed, the one that the server was given");
  return {
    command: "token",
    claims: { secret, subscribe, publish, end, ttlSeconds, subject: subject || undefined },
  };
}

async function readDataCommand([action = "", ...words]: readonly string[]): Promise<CommandLine> {
  if (["", "-h", "--help"].includes(action))
    return { command: "print", text: (await import("./help.ts")).dataHelp() };
  if (!isDataAction(action))
    throw new UsageError(`there is no "data ${action}"; there are ${Object.keys(dataActions).join(", ")}`);
  // `restore FILE` reads better than `restore --from FILE`.
  const isNamed = action === "restore" && words[0] !== undefined && !words[0].startsWith("-");
  const values = readFlags(isNamed ? ["--from", ...words] : words, dataActions[action], process.env);
  if (values === "version") return { command: "print", text: version };
  if (values === "help") return { command: "print", text: (await import("./help.ts")).dataHelp() };
  const needed = Object.entries(dataActions[action]).map(([name, { flag }]) => {
    const value = values[name];
    if (typeof value !== "string" || value === "")
      throw new UsageError(`--${flag} is needed: --${flag} <path>`);
    return value;
  });
  const [directory = "", file = ""] = needed;
  return { command: "data", task: { action, directory, file } };
}

const isDataAction = (word: string): word is DataAction => Object.hasOwn(dataActions, word);
