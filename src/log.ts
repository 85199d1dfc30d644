/** Structured logs on stderr: lines for a person on a terminal, JSON for everything else. */
import pino, { type Logger as PinoLogger } from "pino";
import pretty from "pino-pretty";
import type { HandlerConfig } from "./config.ts";

/** The part of a pino logger that Longwire calls; hand in your own to join its lines with yours. */
export type Logger = Pick<PinoLogger, "trace" | "debug" | "info" | "warn" | "error">;

/** One that writes by itself. Before the process is made to exit, wait for `flush`: its last lines may be on their way. */
export type WritingLogger = Logger & Pick<PinoLogger, "flush">;

const stderr = 2;

/** Bytes of log lines kept while whoever reads stderr is stuck. Past it lines are dropped: a log must not stop the server. */
const waitingBytesMax = 16 * 1024 * 1024;

export function createLogger(level: HandlerConfig["logLevel"]): WritingLogger {
  if (process.stderr.isTTY) {
    return pino(
      { level },
      pretty({ destination: stderr, sync: true, ignore: "pid,hostname", translateTime: "HH:MM:ss.l" }),
    );
  }
  // Asynchronous, because a synchronous write to a full pipe would hold up every connection.
  const destination = pino.destination({
    dest: stderr,
    sync: false,
    maxLength: waitingBytesMax,
    minLength: 1, // With less, sonic-boom's flush calls back at once and waits for nothing.
  });
  return pino({ level }, destination);
}
