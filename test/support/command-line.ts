/** The command line in this process: a mistake in it is found without a process of its own. */
import { readCommandLine } from "../../src/command/command-line.ts";
import { UsageError } from "../../src/command/flags.ts";
import { createLogger } from "../../src/log.ts";
import { ConfigError } from "../../src/longwire.ts";
import { startServer } from "../../src/server.ts";

/**
 * @param environment in place of this process's own, in which the developer may have settings
 * @returns the line that the command prints on stderr before it ends with 2
 * @throws if there is no mistake
 */
export async function mistakeIn(
  words: readonly string[],
  environment: Record<string, string> = {},
): Promise<string> {
  const own = process.env;
  process.env = environment;
  try {
    const line = await readCommandLine(words);
    if (line.command === "serve")
      await (await startServer(line.config, createLogger("silent"), undefined)).stop();
  } catch (error) {
    if (error instanceof UsageError || error instanceof ConfigError) return `longwire: ${error.message}\n`;
    throw error;
  } finally {
    process.env = own;
  }
  throw new Error(`there is no mistake in "${words.join(" ")}"`);
}
