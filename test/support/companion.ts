/** A program of the tests in a process of its own, so that a load slows only the server and not this client of it. */
import { resolve } from "node:path";
import { linesOf } from "./lines.ts";
import { root } from "./server.ts";
import { within } from "./wait.ts";

/** For a start or a report on a machine that is busy with the load. */
const stepSeconds = 60;

/** Disposing kills it. */
export interface Companion<Report> extends AsyncDisposable {
  /** Sends a line to one that takes commands. @returns the line that it answers @throws if it failed before */
  ask(command: string): Promise<string>;
  /** Ends it. @returns what it printed as JSON @throws if it failed before */
  end(): Promise<Report>;
}

/**
 * Starts a program that prints a line when it has begun, works until its stdin ends, and then prints a line of JSON. One that
 * takes commands may be left to end with this process.
 * @param program a path from the root of the repository
 */
export async function beginCompanion<Report>(
  program: string,
  args: readonly string[],
): Promise<Companion<Report>> {
  const companion = Bun.spawn([process.execPath, "run", resolve(root, program), ...args], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const lines = linesOf(companion.stdout);
  const next = async (what: string): Promise<string> => {
    const { value } = await within(lines.next(), `${program} to ${what}`, stepSeconds);
    if (value === undefined) throw new Error(`${program} ended before it could ${what}`);
    return value;
  };
  const kill = async (): Promise<void> => {
    companion.kill("SIGKILL");
    await companion.exited;
  };
  try {
    await next("begin");
  } catch (error) {
    await kill();
    throw error;
  }
  companion.unref();
  return {
    ask: async (command) => {
      companion.stdin.write(`${command}\n`);
      await companion.stdin.flush();
      return next(`answer ${command.slice(0, 80)}`);
    },
    end: async () => {
      await companion.stdin.end();
      try {
        return JSON.parse(await next("report"));
      } finally {
        await kill();
      }
    },
    [Symbol.asyncDispose]: kill,
  };
}
