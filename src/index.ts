#!/usr/bin/env bun
/**
 * The command: settings → server → signals, a thin user of the library. And the map of the house; imports run downward.
 *
 *   index.ts → command-line.ts       flags and LONGWIRE_… become a Config
 *   longwire.ts                      the library: endpoints joined into routes and one WebSocket handler
 *   echo.ts  topics.ts  page.ts      the endpoints: /ping, /topics/…, / and /longconnecthtml
 *
 * The way of a message, from where it comes in to where it is kept and goes out:
 *
 *   publish.ts (POST)  topic-socket.ts (a frame, read by frame.ts)  longwire.ts (a program)
 *        └────────────────────┴── hub.publish ──────────┘
 *   broker.ts, the seam, and broker-memory.ts, an engine: append to the topic-log.ts, announce
 *        └── hub.ts: #announced → #deliver → fan-out.ts → Bun's native topics, streams, iterators
 *   subscription.ts: what one subscriber missed, then live; its ends are topic-socket.ts (WebSocket),
 *   event-stream.ts (SSE) and message-iterator.ts (a program)
 *
 * Beneath: envelope.ts (the words on the wire), connection.ts (the register of what is open), handshake.ts, access.ts,
 * http.ts, message.ts and draft.ts (the domain's words), retention.ts, config.ts and units.ts, log.ts.
 */
import { version } from "../package.json";
import { CommandLineEnd, readCommandLine } from "./command-line.ts";
import type { Config } from "./config.ts";
import { createLogger, type Logger, type WritingLogger } from "./log.ts";
import { createServer, type LongwireServer } from "./longwire.ts";

/** Longer than a reader of stderr that is alive takes for the last lines of the log. */
const flushSecondsMax = 1;

await main();

async function main(): Promise<void> {
  let config: Config;
  try {
    config = readCommandLine(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof CommandLineEnd)) throw error;
    process.exitCode = error.exitCode;
    return;
  }
  const log = createLogger(config.logLevel);
  // A fault that no handler foresaw must not end the connections of everyone else.
  process.on("uncaughtException", (error) => log.error({ err: error }, "uncaught exception"));
  process.on("unhandledRejection", (reason) => log.error({ err: reason }, "unhandled rejection"));

  const server = await listen(config, log);
  if (!server) return;
  stopOnSignals(server, log);
  const page = new URL(server.url);
  if (["127.0.0.1", "0.0.0.0", "[::1]", "[::]"].includes(page.hostname)) page.hostname = "localhost";
  const line = new URL("/ping", page);
  line.protocol = page.protocol.replace("http", "ws");
  console.log(`Longwire ${version}: open ${page} for the page`);
  console.log(`or connect to ${line} (echo) and ${new URL("/topics/any-name", page)}; Ctrl+C stops it`);
}

/** @returns nothing, having said why, where the address cannot be listened on */
async function listen(config: Config, log: Logger): Promise<LongwireServer | undefined> {
  try {
    return await createServer({ ...config, log });
  } catch (error) {
    console.error(`longwire: ${whyNot(config, error)}`);
    process.exitCode = 1;
    return undefined;
  }
}

function whyNot({ host, port }: Config, error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "EADDRINUSE") {
    return `port ${port} of ${host} is taken. Stop what listens there, or choose another with --port (0 takes any free one).`;
  }
  if (code === "EACCES")
    return `no permission to listen on port ${port}. Choose one from 1024 up with --port.`;
  return `cannot listen on ${host}:${port}: ${error instanceof Error ? error.message : error}`;
}

function stopOnSignals(server: LongwireServer, log: WritingLogger): void {
  let stopping = false;
  const exit = (code: number): void => {
    setTimeout(() => process.exit(code), flushSecondsMax * 1000);
    log.flush(() => process.exit(code));
  };
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ signal }, "stopping; a second signal ends at once");
    server.stop().then(
      () => exit(0),
      (error) => {
        log.error({ err: error }, "stopping failed");
        exit(1);
      },
    );
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
}
