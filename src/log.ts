/** Structured logs on stderr: lines for a person on a terminal, JSON lines in the format of pino everywhere else. */
import { fstatSync, write, writeSync } from "node:fs";
import { hostname } from "node:os";

/** Writes one line. @param fields what belongs to the event; an error is `err` */
type WriteLine = (fields: object, message: string) => void;

/**
 * Takes the log lines of a server or handler. A pino logger is one, and so is any object with these five functions.
 *
 * ```ts
 * import { createServer, type Logger } from "longwire";
 *
 * const line = (fields: object, message: string) => console.log(message, fields);
 * const log: Logger = { trace: () => {}, debug: () => {}, info: line, warn: line, error: line };
 * await using server = await createServer({ port: 0, log });
 * ```
 */
export interface Logger {
  readonly trace: WriteLine;
  readonly debug: WriteLine;
  readonly info: WriteLine;
  readonly warn: WriteLine;
  readonly error: WriteLine;
}

/** The logger of the process itself. Call `flush` before the process exits, because lines are written asynchronously. */
export interface WritingLogger extends Logger {
  /** Its lines are for a person. */
  readonly isOnTerminal: boolean;
  /** Calls back when every line so far has been handed to the kernel. */
  flush(callback: () => void): void;
  /** Drops the lines that are not written yet. Otherwise the exit of the process would wait for a stuck reader of stderr. */
  abandon(): void;
}

/** Levels and their numbers in a JSON line, as pino has them. */
const severities = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
  silent: Number.POSITIVE_INFINITY,
} as const;

export type LogLevel = keyof typeof severities;

/** @param least the least severe level that is written */
export function createLogger(least: LogLevel): WritingLogger {
  const isOnTerminal = isTerminal();
  const format = isOnTerminal ? terminalLine : jsonLine;
  const writer = (level: keyof Logger): WriteLine =>
    severities[level] < severities[least]
      ? () => undefined
      : (fields, message) => stderr.write(format(level, fields, message));
  return {
    isOnTerminal,
    trace: writer("trace"),
    debug: writer("debug"),
    info: writer("info"),
    warn: writer("warn"),
    error: writer("error"),
    flush: (callback) => stderr.flush(callback),
    abandon: () => stderr.abandon(),
  };
}

export const isWritingLogger = (log: Logger): log is WritingLogger => "isOnTerminal" in log;

const stderrDescriptor = 2;

/** Asks for the kind of file first: `process.stderr` and what it loads cost 10 ms and 7 MiB at start. */
function isTerminal(): boolean {
  return fstatSync(stderrDescriptor).isCharacterDevice() && process.stderr.isTTY === true;
}

/** UTF-16 units kept while the reader of stderr is stuck. Beyond it lines are dropped: a log must not stop the server. */
const waitingMax = 16 * 1024 * 1024;

/**
 * What the thread pool is given at the exit of the process to finish a write. One takes 20 µs, but a thread of a machine with
 * more to do than processors may wait for its turn for tens of milliseconds, and nothing tells a process that exits when it had it.
 */
const exitPatienceMilliseconds = 250;

/** How soon to write again to a stderr that another process made non-blocking, and that is full. */
const retryMilliseconds = 100;

/** Writes to stderr in the thread pool, because a synchronous write to a full pipe would hold up every connection. */
class StderrWriter {
  /** Lines that the thread pool was not given yet. */
  #waiting = "";
  /** A write is under way or about to begin. */
  #isWriting = false;
  /** The thread pool has lines. */
  #isUnderWay = false;
  #dropped = 0;
  readonly #flushes: (() => void)[] = [];

  write(line: string): void {
    if (this.#waiting.length >= waitingMax) {
      this.#dropped++;
      return;
    }
    this.#waiting += line;
    // After this turn of the loop: its lines become one write, and a program that exits in this turn loses none of them.
    if (!this.#isWriting) setImmediate(() => this.#writeNext());
    this.#isWriting = true;
  }

  flush(callback: () => void): void {
    this.#flushes.push(callback);
    if (!this.#isWriting) this.#writeNext();
  }

  abandon(): void {
    this.#waiting = "";
    this.#dropped = 0;
    this.#isUnderWay = false;
  }

  /** At the exit of the process nothing asynchronous runs any more. */
  writeRest(): void {
    if (this.#isUnderWay) Bun.sleepSync(exitPatienceMilliseconds);
    if (this.#waiting !== "") writeSync(stderrDescriptor, this.#waiting);
  }

  #writeNext(): void {
    if (this.#dropped > 0) {
      this.#waiting += jsonLine(
        "warn",
        { dropped: this.#dropped },
        "log lines were dropped: stderr was not read",
      );
      this.#dropped = 0;
    }
    this.#isUnderWay = false;
    this.#isWriting = this.#waiting !== "";
    if (!this.#isWriting) {
      for (const callback of this.#flushes.splice(0)) callback();
      return;
    }
    const lines = Buffer.from(this.#waiting);
    this.#waiting = "";
    this.#isUnderWay = true;
    this.#writeBytes(lines);
  }

  #writeBytes(bytes: Buffer): void {
    write(stderrDescriptor, bytes, (error, count) => {
      if (error?.code === "EAGAIN") setTimeout(() => this.#writeBytes(bytes), retryMilliseconds);
      // After any other error these lines are lost: stderr is closed, and there is nowhere else to report it.
      else if (!error && count < bytes.length) this.#writeBytes(bytes.subarray(count));
      else this.#writeNext();
    });
  }
}

/** One for the process, so that the lines of all loggers stay in order. */
const stderr = new StderrWriter();
process.once("exit", () => stderr.writeRest());

const origin = `"pid":${process.pid},"hostname":${JSON.stringify(hostname())}`;

function jsonLine(level: keyof Logger, fields: object, message: string): string {
  const members = fieldsAsJson(fields).slice(1, -1);
  const text = `{"level":${severities[level]},"time":${Date.now()},${origin}${members && `,${members}`},"msg":${JSON.stringify(message)}}`;
  return `${escapeControls(text)}\n`;
}

/** A line for the event, then an indented line for each field; an error is its stack and those of its causes. */
function terminalLine(level: keyof Logger, fields: object, message: string): string {
  const time = new Date();
  const clock = `${time.toTimeString().slice(0, 8)}.${String(time.getMilliseconds()).padStart(3, "0")}`;
  const head = `[${clock}] ${coloured(level)}: ${escapeControls(message)}`;
  const lines = fieldLines(JSON.parse(fieldsAsJson(fields)));
  return [head, ...lines.map((line) => `    ${escapeControls(line)}`), ""].join("\n");
}

function fieldLines(fields: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(fields).flatMap(([name, value]) => {
    if (!isErrorFields(value)) return [`${name}: ${JSON.stringify(value)}`];
    const { type: _, message: __, stack, ...rest } = value;
    const [first, ...others] = stack.split("\n");
    return [`${name}: ${first}`, ...others, ...fieldLines(rest)];
  });
}

function isErrorFields(value: unknown): value is { type: string; message: string; stack: string } {
  return typeof value === "object" && value !== null && "stack" in value && typeof value.stack === "string";
}

const colours = { trace: 90, debug: 34, info: 32, warn: 33, error: 31 } as const;

function coloured(level: keyof Logger): string {
  const name = level.toUpperCase();
  return Bun.enableANSIColors ? `\u001b[${colours[level]}m${name}\u001b[39m` : name;
}

/** A field that JSON cannot carry must not turn a log line into a fault. */
function fieldsAsJson(fields: object): string {
  try {
    return JSON.stringify("err" in fields ? { ...fields, err: errorFields(fields.err) } : fields);
  } catch (error) {
    return JSON.stringify({ fields: Bun.inspect(fields), unwritable: String(error) });
  }
}

/** An error's own properties, such as `code`, beside those that JSON would leave out. */
function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name: type, message, stack, cause } = error;
  return { ...error, type, message, stack, ...(cause !== undefined && { cause: errorFields(cause) }) };
}

/**
 * A client chooses some of the text, and a terminal obeys control characters, C1 and those of bidirectional text included
 * (JSON escapes only C0).
 */
function escapeControls(text: string): string {
  if (!/[^\x20-\x7e]/.test(text)) return text; // Nearly all lines. The other expression is slower, and compiled when needed.
  return text.replaceAll(
    /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
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
    (level: "info" | "warn"): WriteLine =>
    (fields, message) => {
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
    trace: (fields, message) => log.trace(fields, message),
    debug: (fields, message) => log.debug(fields, message),
    info: sample("info"),
    warn: sample("warn"),
    error: (fields, message) => log.error(fields, message),
  };
}
