#!/usr/bin/env bun
/**
 * The command: settings → server → signals, a thin user of the library. And the map of the house; imports run downward.
 *
 *   index.ts → command-line.ts       flags and LONGWIRE_… become a Config
 *   longwire.ts                      the library: endpoints joined into routes and one WebSocket handler
 *   echo.ts  topics.ts  page.ts      the endpoints: /ping, /topics/…, / and /longconnecthtml
 *   operations.ts                    /healthz, /readyz, /metrics
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
 * Before a request gets there: origin.ts (which pages, which Host), gate.ts (what its token allows, by access.ts),
 * connection.ts (is there room; the register of all that is open, their heartbeats, limits and draining), and
 * handshake.ts (it becomes a WebSocket, or is told why not, by refusal.ts). poll.ts answers a look at history.
 *
 * Beneath: envelope.ts (the words on the wire), http.ts, proxies.ts, message.ts and draft.ts (the domain's words),
 * retention.ts, metrics.ts, config.ts and units.ts, log.ts. listener.ts is where a server listens, token.ts is
 * `longwire token`.
 */
import { version } from "../package.json";
import { CommandLineEnd, readCommandLine } from "./command-line.ts";
import type { Config } from "./config.ts";
import { createLogger, type Logger, type WritingLogger } from "./log.ts";
import { ConfigError, createServer, type LongwireServer } from "./longwire.ts";
import { makeToken } from "./token.ts";

/** Longer than a reader of stderr that is alive takes for the last lines of the log. */
const flushSecondsMax = 1;

await main();

async function main(): Promise<void> {
  try {
    const line = readCommandLine(process.argv.slice(2));
    if (line.command === "token") console.log(await makeToken(line.wish));
    else await serve(line.config);
  } catch (error) {
    if (!(error instanceof CommandLineEnd)) throw error;
    process.exitCode = error.exitCode;
  }
}

async function serve(config: Config): Promise<void> {
  const log = createLogger(config.logLevel);
  // A fault that no handler foresaw must not end the connections of everyone else.
  process.on("uncaughtException", (error) => log.error({ err: error }, "uncaught exception"));
  process.on("unhandledRejection", (reason) => log.error({ err: reason }, "unhandled rejection"));

  const server = await listen(config, log);
  if (!server) return;
  stopOnSignals(server, log);
  const { url } = server;
  if (url.protocol === "unix:") {
    console.log(`Longwire ${version}: listens on ${url.pathname}, with /ping, /topics/… and the page at /`);
    return;
  }
  if (["127.0.0.1", "0.0.0.0", "[::1]", "[::]"].includes(url.hostname)) url.hostname = "localhost";
  const ping = new URL("/ping", url);
  ping.protocol = url.protocol.replace("http", "ws");
  console.log(`Longwire ${version}: open ${url} for the page`);
  console.log(`or connect to ${ping} (echo) and ${new URL("/topics/any-name", url)}; Ctrl+C stops it`);
}

/** @returns nothing, having said why, where the address cannot be listened on */
async function listen(config: Config, log: Logger): Promise<LongwireServer | undefined> {
  try {
    return await createServer({ ...config, log });
  } catch (error) {
    console.error(`longwire: ${whyNot(config, error)}`);
    process.exitCode = error instanceof ConfigError ? 2 : 1;
    return undefined;
  }
}

function whyNot({ host, port, unixSocket }: Config, error: unknown): string {
  if (error instanceof ConfigError) return `${error.message}.`;
  const cause = error instanceof Error ? error.message : error;
  if (unixSocket) return `cannot listen on ${unixSocket}: ${cause}.`;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "EADDRINUSE") {
    return `port ${port} of ${host} is taken. Stop what listens there, or choose another with --port (0 takes any free one).`;
  }
  if (code === "EACCES")
    return `no permission to listen on port ${port}. Choose one from 1024 up with --port.`;
  return `cannot listen on ${host}:${port}: ${cause}`;
}

/** SIGTERM is a deploy and drains; SIGINT is a person at the terminal, who does not want to wait for it. */
function stopOnSignals(server: LongwireServer, log: WritingLogger): void {
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
      () => exit(0),
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
