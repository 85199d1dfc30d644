/** The real server in a process of its own, compiled as users download it. */
import { resolve } from "node:path";
import type { Subprocess } from "bun";
import { compiledServer } from "./compiled.ts";
import { freePort } from "./free-port.ts";
import { endWithTests } from "./orphans.ts";
import { until, within } from "./wait.ts";

export const root = resolve(import.meta.dir, "../..");

/** A JSON line of the server's log. */
export type LogLine = Readonly<Record<string, unknown>>;

export interface RunningServer extends AsyncDisposable {
  /** `http://localhost:…/`, as printed; for a socket file `unix://` and its path. */
  readonly url: URL;
  readonly process: Subprocess<"ignore", "pipe", "pipe">;
  /** The lines that the server printed on stdout before it was ready. */
  readonly startLines: string;
  /** All of stderr; resolves when the process has ended. */
  readonly errors: Promise<string>;
  /** `ws://localhost:…` and the path, or `wss:`. */
  socketUrl(path?: string): string;
  /** The lines of the log so far. */
  log(): LogLine[];
  /** Resolves with the first line whose message contains `message`, as soon as it is written. */
  logged(message: string): Promise<LogLine>;
}

export interface SpawnOptions {
  /** The command in place of the compiled server: Bun with a preload, or from a shell. */
  readonly command?: readonly string[];
  readonly environment?: Record<string, string>;
  readonly directory?: string;
  /** Leaves out `--port`, so that the environment or another flag decides. */
  readonly withoutPort?: boolean;
  /** Kills the server so long after it was spawned, ready or not. */
  readonly killAfterMilliseconds?: number;
  /** The longest time of a command that ends by itself. */
  readonly seconds?: number;
}

/**
 * Starts a server on a free port, or on that of another `--port`, and resolves when it has printed its address. The port
 * stays free for one that is started after it. `await using` kills it at the end of the test.
 */
export async function spawnServer(
  flags: readonly string[] = [],
  options: SpawnOptions = {},
): Promise<RunningServer> {
  const command = options.command ?? [await compiledServer()];
  const port = options.withoutPort ? [] : ["--port", String(await freePort())];
  const server = Bun.spawn([...command, ...port, ...flags], {
    cwd: options.directory ?? root,
    env: environment(options.environment),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });

  endWithTests(server);
  if (options.killAfterMilliseconds !== undefined)
    setTimeout(() => server.kill("SIGKILL"), options.killAfterMilliseconds);
  let errorText = "";
  const errors = collect(server.stderr, (text) => {
    errorText = text;
  });
  const startLines = await readUntil(server.stdout, /\/ping.*\n/);
  const socketFile = /listens on (\S+),/.exec(startLines)?.[1];
  const page = socketFile ? `unix://${socketFile}` : /https?:\/\/\S+/.exec(startLines)?.[0];
  if (page === undefined) throw new Error(`the server did not start:\n${startLines}${await errors}`);
  const url = new URL(page);
  const log = (): LogLine[] =>
    errorText
      .slice(0, errorText.lastIndexOf("\n") + 1)
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line));
  return {
    url,
    process: server,
    startLines,
    errors,
    socketUrl: (path = "/ping") => `${url.protocol === "https:" ? "wss" : "ws"}://${url.host}${path}`,
    log,
    logged: async (message) => {
      let found: LogLine | undefined;
      await until(() => {
        found = log().find(({ msg }) => String(msg).includes(message));
        return found !== undefined;
      }, `the log line "${message}"`);
      return found as LogLine;
    },
    [Symbol.asyncDispose]: async () => {
      server.kill("SIGKILL");
      await server.exited;
    },
  };
}

export interface Ended {
  readonly exitCode: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs the command to its end. */
export async function runCommand(flags: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  const command = options.command ?? [await compiledServer()];
  const ended = Bun.spawn([...command, ...flags], {
    cwd: options.directory ?? root,
    env: environment(options.environment),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  try {
    const [output, errors] = await within(
      Promise.all([new Response(ended.stdout).text(), new Response(ended.stderr).text()]),
      `the end of ${[...command, ...flags].join(" ")}`,
      options.seconds,
    );
    return { exitCode: await ended.exited, output, errors };
  } finally {
    ended.kill("SIGKILL");
  }
}

/** The resident memory of a process in bytes, now or at most. */
export async function residentBytes(pid: number, which: "now" | "most" = "now"): Promise<number> {
  const status = await Bun.file(`/proc/${pid}/status`).text();
  const [, kibibytes] =
    new RegExp(`^Vm${which === "now" ? "RSS" : "HWM"}:\\s+(\\d+) kB`, "m").exec(status) ?? [];
  return Number(kibibytes) * 1024;
}

/** Without the developer's own settings, and those of the run of the tests. */
function environment(given: Record<string, string> = {}): Record<string, string | undefined> {
  const inherited = Object.entries(process.env).filter(
    ([name]) => name !== "PORT" && !/^(LONGWIRE|MIMALLOC)_/.test(name),
  );
  return { ...Object.fromEntries(inherited), ...given };
}

async function collect(
  stream: ReadableStream<Uint8Array>,
  onText: (textSoFar: string) => void,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    onText(text);
  }
  return text;
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
