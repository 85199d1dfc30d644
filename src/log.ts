/** Structured logs on stderr: lines for a person on a terminal, JSON for everything else. */
import pino, { type LevelWithSilent, type Logger as PinoLogger } from "pino";
import pretty from "pino-pretty";

/** The part of a pino logger that Longwire calls; hand in your own to join its lines with yours. */
export type Logger = Pick<PinoLogger, "trace" | "debug" | "info" | "warn" | "error">;

/** One that writes by itself. Before the process is made to exit, wait for `flush`: its last lines may be on their way. */
export interface WritingLogger extends Logger, Pick<PinoLogger, "flush"> {
  /** Drops what is not written yet. Else the process would wait at its exit for a reader of stderr that is stuck. */
  abandon(): void;
}

const stderr = 2;

/** Bytes of log lines kept while whoever reads stderr is stuck. Past it lines are dropped: a log must not stop the server. */
const waitingBytesMax = 16 * 1024 * 1024;

export function createLogger(level: LevelWithSilent): WritingLogger {
  if (process.stderr.isTTY) {
    const destination = pretty({
      destination: stderr,
      sync: true,
      ignore: "pid,hostname",
      translateTime: "HH:MM:ss.l",
    });
    return Object.assign(pino({ level }, destination), { abandon: () => undefined });
  }
  // Asynchronous, because a synchronous write to a full pipe would hold up every connection.
  const destination = pino.destination({
    dest: stderr,
    sync: false,
    maxLength: waitingBytesMax,
    minLength: 1, // With less, sonic-boom's flush calls back at once and waits for nothing.
  });
  return Object.assign(pino({ level }, destination), { abandon: () => destination.destroy() });
}

/** How often clients can cause a line of one kind. */
export const sampleSeconds = 10;

/**
 * Rate-limits lines at `info` and `warn`, which clients can cause: one line per message text every 10 s, with the number
 * left out since the last one. Errors always pass, because an answer refers to each of them by its id.
 */
export function sampled(log: Logger): Logger {
  const kinds = new Map<string, { passedTime: number; leftOut: number }>();
  const sample =
    (level: "info" | "warn") =>
    (fields: object, message: string): void => {
      const kind = kinds.get(message);
      const now = performance.now();
      if (kind && now - kind.passedTime < sampleSeconds * 1000) {
        kind.leftOut++;
        return;
      }
      kinds.set(message, { passedTime: now, leftOut: 0 });
      log[level](kind?.leftOut ? { ...fields, leftOut: kind.leftOut } : fields, message);
    };
  return {
    trace: log.trace.bind(log),
    debug: log.debug.bind(log),
    info: sample("info") as Logger["info"],
    warn: sample("warn") as Logger["warn"],
    error: log.error.bind(log),
  };
}
