/** The real server in a process of its own, as a user would start it. */
import { resolve } from "node:path";
import type { Subprocess } from "bun";

export const root = resolve(import.meta.dir, "../..");

export interface RunningServer extends AsyncDisposable {
  /** `http://localhost:…/`, as it was printed. */
  readonly url: URL;
  readonly process: Subprocess<"ignore", "pipe", "pipe">;
  /** What the server printed on stdout before it was ready. */
  readonly startLines: string;
  /** All of stderr; resolves when the process has ended. */
  readonly errors: Promise<string>;
  /** `ws://localhost:…` and the path. */
  socketUrl(path?: string): string;
}

export interface SpawnOptions {
  /** What to run in place of `bun run src/index.ts`: a binary, or Bun with a preload. */
  readonly command?: readonly string[];
  readonly environment?: Record<string, string>;
  readonly directory?: string;
}

/**
 * Starts a server on a free port (another `--port` outranks it) and resolves when it has said where it listens.
 * `await using` kills it at the end of the test.
 */
export async function spawnServer(
  flags: readonly string[] = [],
  options: SpawnOptions = {},
): Promise<RunningServer> {
  const command = options.command ?? [process.execPath, "run", resolve(root, "src/index.ts")];
  const server = Bun.spawn([...command, "--port", "0", ...flags], {
    cwd: options.directory ?? root,
    env: { ...process.env, ...options.environment },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const errors = new Response(server.stderr).text();
  const startLines = await readUntil(server.stdout, /\/ping.*\n/);
  const page = /http:\/\/\S+/.exec(startLines)?.[0];
  if (page === undefined) throw new Error(`the server did not start:\n${startLines}${await errors}`);
  const url = new URL(page);
  return {
    url,
    process: server,
    startLines,
    errors,
    socketUrl: (path = "/ping") => `ws://${url.host}${path}`,
    [Symbol.asyncDispose]: async () => {
      server.kill("SIGKILL");
      await server.exited;
    },
  };
}

async function readUntil(stream: ReadableStream<Uint8Array>, end: RegExp): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    if (end.test(text)) return text;
  }
  return text;
}
