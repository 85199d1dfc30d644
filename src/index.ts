#!/usr/bin/env bun
/**
 * The command: settings → server → signals. It is a small program that starts a server, as the library does.
 *
 * A message takes this way. Each step is one file:
 *
 *   endpoint/topics/publish.ts    POST /topics/… (a stream: publish-stream.ts; a frame of a WebSocket:
 *                                 publish-frame.ts; a call of the program: program.ts)
 *     ↓ publish
 *   topic/hub.ts                  joins an engine to the topics that have subscribers on this node
 *     ↓ publish
 *   engine/memory/broker.ts       appends to the topic's log and announces (the seam is topic/broker.ts)
 *   engine/disk/broker.ts         with --data: the same on this machine's disk, by a Worker that commits in groups
 *   engine/redis/broker.ts        with --redis: the same in Redis, by a script (append.lua); every node hears it
 *     ↓ announced
 *   topic/hub.ts → topic/channel.ts   the node's part of the topic: catches up, and orders what was announced
 *     ↓ deliver
 *   delivery/topic-readers.ts     Bun's native topics for WebSockets; event streams, polls and iterators one by one
 *
 * A client that comes back: topic/subscription.ts replays what it missed, then joins live delivery.
 *
 * Folders, from the top down. A file imports only from its own folder and from folders below:
 *
 *   longwire.ts              the library: what a program may use
 *   server.ts                a server of its own: where it listens, and how it is drained and stopped
 *   assembly.ts              joins all parts; the only file that knows all of them
 *   endpoint/                /ping, /topics/…, the page, /healthz, /readyz and /metrics
 *   subscriber/              a client's connection to topics: a WebSocket, an event stream or a poll
 *   connection/  access/     open connections and their limits | from API keys and tokens to permissions
 *   delivery/                from one message to its readers: forms, and the one rule by which a reader is cut (rule.ts)
 *   http/  command/          requests, refusals, origins, listener | the command line, `longwire token`, `longwire data`
 *   client/                  `longwire/client`, which browsers load as /client.js
 *   wire/  engine/  settings/  what is sent, byte for byte | where topics are kept | every setting, unit and limit
 *   topic/                   messages, logs, subscriptions: no Bun, no HTTP, no sockets
 *   log.ts  metrics.ts
 */
import { diskMaintenance } from "./assembly.ts";
import { readCommandLine } from "./command/command-line.ts";
import type { DataTask } from "./command/data.ts";
import { UsageError } from "./command/flags.ts";
import { startLines } from "./command/start-lines.ts";
import { DataDirectoryError } from "./engine/data-directory-error.ts";
import { createLogger, type Logger, type WritingLogger } from "./log.ts";
import { type RunningServer, startServer } from "./server.ts";
import { type Config, ConfigError } from "./settings/config.ts";
import { engineWaitSecondsMax, flushSecondsMax } from "./settings/limits.ts";

await main();

async function main(): Promise<void> {
  try {
    const line = await readCommandLine(process.argv.slice(2));
    if (line.command === "print") console.log(line.text);
    else if (line.command === "serve") await serve(line.config);
    else if (line.command === "data") await runData(line.task);
    else if (line.command === "check")
      process.exit((await (await import("./command/check.ts")).runCheck(line.task)) ? 0 : 1);
    else if (line.command === "compare")
      process.exit((await (await import("./command/compare.ts")).runCompare(line.task)) ? 0 : 1);
    else console.log(await (await import("./command/token.ts")).makeToken(line.claims));
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof ConfigError)) throw error;
    console.error(`longwire: ${error.message}`);
    process.exitCode = 2;
  }
}

async function runData(task: DataTask): Promise<void> {
  try {
    const { text, isWell } = (await import("./command/data.ts")).runDataTask(task, diskMaintenance());
    console.log(text);
    if (!isWell) process.exitCode = 1;
  } catch (error) {
    if (!(error instanceof DataDirectoryError)) throw error;
    console.error(`longwire: ${error.message}`);
    process.exitCode = 1;
  }
}

async function serve(config: Config): Promise<void> {
  const log = createLogger(config.logLevel);
  // An error that no code foresaw must not end the connections of everyone else.
  process.on("uncaughtException", (error) => log.error({ err: error }, "uncaught exception"));
  process.on("unhandledRejection", (reason) => log.error({ err: reason }, "unhandled rejection"));

  const server = await listen(config, log);
  if (!server) return;
  stopOnSignals(server, log);
  reloadOnSignal(server, log);
  await engineReached(server);
  console.log(startLines(server.url, config, server.parts.engine.broker.state));
}

/** Resolves late if Redis or the disk is away. */
async function engineReached(server: RunningServer): Promise<void> {
  const deadline = performance.now() + engineWaitSecondsMax * 1000;
  while (!server.parts.engine.broker.state.available && performance.now() < deadline) await Bun.sleep(10);
}

/**
 * @returns nothing if the address or the data directory cannot be used; the reason is printed
 * @throws {ConfigError}
 */
async function listen(config: Config, log: Logger): Promise<RunningServer | undefined> {
  try {
    return await startServer(config, log, undefined);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    console.error(`longwire: ${whyNot(config, error)}`);
    process.exitCode = 1;
    return undefined;
  }
}

function whyNot(config: Config, error: unknown): string {
  const { host, port, unixSocket, operationsPort } = config;
  const cause = error instanceof Error ? error.message : String(error);
  if (error instanceof DataDirectoryError) return cause;
  if (operationsPort > 0 && cause.includes(`port ${operationsPort} `))
    return `port ${operationsPort} of ${host} is taken. Choose another with --operations-port.`;
  if (unixSocket) return `cannot listen on ${unixSocket}: ${cause}.`;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "EADDRINUSE") {
    return `port ${port} of ${host} is taken. Stop what listens there, or choose another with --port (0 takes any free one).`;
  }
  if (code === "EACCES")
    return `no permission to listen on port ${port}. Choose one from 1024 up with --port.`;
  return `cannot listen on ${host}:${port}: ${cause}`;
}

/** SIGTERM comes from a deploy, so it drains. SIGINT comes from a person at the terminal, so it does not wait. */
function stopOnSignals(server: RunningServer, log: WritingLogger): void {
  let stopping = false;
  const exitNow = (code: number): void => {
    log.abandon();
    process.exit(code);
  };
  const exit = (code: number): void => {
    setTimeout(() => exitNow(code), flushSecondsMax * 1000);
    log.flush(() => exitNow(code));
  };
  const end = (signal: NodeJS.Signals, stop: () => Promise<void>): void => {
    if (stopping) exitNow(1);
    stopping = true;
    log.info({ signal }, "stopping; a second signal ends at once");
    stop().then(
      () => {
        log.info({ signal }, "stopped");
        exit(0);
      },
      (error) => {
        log.error({ err: error }, "stopping failed");
        exit(1);
      },
    );
  };
  process.on("SIGINT", (signal) => end(signal, () => server.stop()));
  process.on("SIGTERM", (signal) =>
    end(signal, async () => {
      await server.drain();
      await server.stop();
    }),
  );
}

/** SIGHUP comes from a person or a job that has changed a file. On a terminal it says that its window was closed. */
function reloadOnSignal(server: RunningServer, log: WritingLogger): void {
  if (log.isOnTerminal) return;
  let reloading = Promise.resolve();
  process.on("SIGHUP", () => {
    reloading = reloading.then(() => reload(server, log));
  });
}

async function reload(server: RunningServer, log: Logger): Promise<void> {
  try {
    const line = await readCommandLine(process.argv.slice(2));
    if (line.command !== "serve") return;
    const { apiKeys, jwtSecrets, jwtPublicKeys } = line.config;
    await server.reload({ apiKeys, jwtSecrets, jwtPublicKeys });
    const counts = {
      apiKeys: apiKeys.length,
      jwtSecrets: jwtSecrets.length,
      jwtPublicKeys: jwtPublicKeys.length,
    };
    log.info(counts, "keys and certificate were read again");
  } catch (error) {
    const isMistake = error instanceof UsageError || error instanceof ConfigError;
    log.error(
      isMistake ? { reason: error.message } : { err: error },
      "keys and certificate stay as they were",
    );
  }
}
