/** The command line and the environment: which command, and its settings. */
import { version } from "../../package.json";
import { type Config, completeConfig, settings } from "../settings/config.ts";
import { readFlags, UsageError } from "./flags.ts";
import type { TokenClaims } from "./token.ts";
import { tokenSettings } from "./token-settings.ts";

/** The command that was asked for. */
export type CommandLine =
  | { readonly command: "serve"; readonly config: Config }
  | { readonly command: "token"; readonly claims: TokenClaims }
  | { readonly command: "print"; readonly text: string };

/**
 * @param words those after the program's name
 * @throws {UsageError}
 */
export async function readCommandLine(words: readonly string[]): Promise<CommandLine> {
  if (words[0] === "token") return await readTokenCommand(words.slice(1));
  const values = readFlags(words, settings, process.env);
  if (values === "version") return { command: "print", text: version };
  if (values === "help") return { command: "print", text: (await import("./help.ts")).serverHelp() };
  return { command: "serve", config: completeConfig(settings, values) };
}

async function readTokenCommand(words: readonly string[]): Promise<CommandLine> {
  const values = readFlags(words, tokenSettings, process.env);
  if (values === "version") return { command: "print", text: version };
  if (values === "help") return { command: "print", text: (await import("./help.ts")).tokenHelp() };
  const { jwtSecrets, subscribe, publish, ttlSeconds, subject } = completeConfig(tokenSettings, values);
  const [secret] = jwtSecrets;
  if (secret === undefined) throw new UsageError("--jwt-secret is needed, the one that the server was given");
  return {
    command: "token",
    claims: { secret, subscribe, publish, ttlSeconds, subject: subject || undefined },
  };
}
