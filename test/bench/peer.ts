/** The servers that are measured: how each is prepared, started and stopped. */
import { resolve } from "node:path";
import { compiledServer } from "../support/compiled.ts";

export const root = resolve(import.meta.dir, "../..");

/** A server that a benchmark compares, with one name in every table. */
export interface Peer {
  readonly key: string;
  readonly heading: string;
  /**
   * Builds the program if it has to be built. Called before any measurement.
   * @param quick whether its figures mean nothing, so that Longwire may be the binary of the tests, which starts sooner
   */
  prepare(quick: boolean): Preparation | Promise<Preparation>;
  /** Set for Longwire: the same from another checkout, with other names. */
  in?(checkout: string): Peer;
  /** The key of the peer that it is measured like; its own if left out. */
  readonly like?: string;
}

export type Preparation = Program | { readonly missing: string };

interface Program {
  readonly command: readonly string[];
  readonly version: string;
  readonly environment?: Record<string, string>;
  /** The port of a program that does not print its address. */
  readonly port?: number;
}

export interface ReadyPeer {
  readonly key: string;
  readonly heading: string;
  readonly like?: string;
  readonly program: Program;
}

export interface RunningPeer extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  /** When its process was started, by the clock of `performance`. */
  readonly beganMilliseconds: number;
}

const startSecondsMax = 60;

/** Killed when this process ends. */
const running = new Set<Bun.Subprocess>();
process.on("exit", () => {
  for (const server of running) server.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

/** The control: the figures of every other peer are compared with its figures. */
export const control = "bun";

/** Longwire with other settings than the defaults. */
export const longwireWith = (key: string, heading: string, flags: readonly string[]): Peer => ({
  key,
  heading,
  prepare: async (quick) => {
    const program = longwireIn(root, flags);
    return quick ? { ...program, command: [await compiledServer(), ...wordsOf(flags)] } : program;
  },
  in: (checkout) => ({
    key: `${key}-in`,
    heading: `${heading} in ${checkout}`,
    like: key,
    prepare: () => longwireIn(resolve(checkout), flags),
  }),
});

const wordsOf = (flags: readonly string[]): readonly string[] => ["--port", "0", ...flags];

const longwireIn = (checkout: string, flags: readonly string[]): Program => ({
  command: [process.execPath, "run", resolve(checkout, "src/index.ts"), ...wordsOf(flags)],
  version: gitRevision(checkout),
});

export const longwire: Peer = longwireWith("longwire", "longwire", []);

/** A program in peers/. */
export const peerFile = (name: string): string => resolve(import.meta.dir, "peers", name);

/** The control: the same in a few lines of Bun. */
export const bareBun = (file: string): Peer => ({
  key: control,
  heading: "bare Bun.serve (control)",
  prepare: () => ({ command: [process.execPath, "run", peerFile(file)], version: `Bun ${Bun.version}` }),
});

const revisions = new Map<string, string>();

function gitRevision(checkout: string): string {
  const revision = revisions.get(checkout) ?? describeRevision(checkout);
  revisions.set(checkout, revision);
  return revision;
}

function describeRevision(checkout: string): string {
  if (Bun.which("git") === null) return "of unknown revision";
  const described = Bun.spawnSync(["git", "describe", "--always", "--dirty", "--exclude=*"], {
    cwd: checkout,
  });
  return described.success ? described.stdout.toString().trim() : "of unknown revision";
}

/**
 * Starts a server and resolves when it listens on 127.0.0.1.
 * @param prefix the words before the command that place the server on its core
 */
export async function startPeer(
  { heading, program }: ReadyPeer,
  prefix: readonly string[],
): Promise<RunningPeer> {
  const beganMilliseconds = performance.now();
  const server = Bun.spawn([...prefix, ...program.command], {
    cwd: root,
    // Nothing else: a LONGWIRE_* or BUN_* variable of the caller would change the measurement.
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...program.environment },
    stdin: "ignore",
    stdout: program.port === undefined ? "pipe" : "ignore",
    stderr: "pipe",
  });
  running.add(server);
  const stop = async (): Promise<void> => {
    server.kill("SIGKILL");
    await server.exited;
    running.delete(server);
  };
  const errors = new Response(server.stderr).text();
  const port = await Promise.race([
    program.port === undefined ? printedPort(server.stdout) : openPort(program.port),
    server.exited.then(() => undefined),
    Bun.sleep(startSecondsMax * 1000).then(() => undefined),
  ]);
  if (port === undefined) {
    await stop();
    throw new Error(`${heading} did not start within ${startSecondsMax} s:\n${await errors}`);
  }
  return { pid: server.pid, port, beganMilliseconds, [Symbol.asyncDispose]: stop };
}

/** Continues to read after the address: a full pipe would block the server. */
function printedPort(stdout: ReadableStream<Uint8Array> | undefined): Promise<number | undefined> {
  return new Promise((found, failed) => {
    const read = async (): Promise<void> => {
      const decoder = new TextDecoder();
      let text: string | undefined = "";
      for await (const chunk of stdout ?? []) {
        if (text === undefined) continue;
        text += decoder.decode(chunk, { stream: true });
        const port = /http:\/\/[^\s/]+:(\d+)/.exec(text)?.[1];
        if (port === undefined) continue;
        found(Number(port));
        text = undefined;
      }
    };
    read().catch(failed);
  });
}

async function openPort(port: number): Promise<number> {
  const deadline = Date.now() + startSecondsMax * 1000;
  for (;;) {
    try {
      const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } });
      socket.terminate();
      return port;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await Bun.sleep(20);
    }
  }
}
