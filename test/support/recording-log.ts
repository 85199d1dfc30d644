/** A log that keeps its lines, for a server in the process of the test. */
import type { Logger } from "../../src/longwire.ts";

interface Line {
  readonly level: keyof Logger;
  readonly fields: object;
  readonly message: string;
}

export interface RecordingLog extends Logger {
  readonly lines: readonly Line[];
  /** The causes of the errors so far. */
  errors(): unknown[];
}

export function recordingLog(): RecordingLog {
  const lines: Line[] = [];
  const at =
    (level: keyof Logger) =>
    (fields: object, message: string): void =>
      void lines.push({ level, fields, message });
  return {
    lines,
    errors: () =>
      lines
        .filter(({ level }) => level === "error")
        .map(({ fields }) => ("err" in fields ? fields.err : undefined)),
    trace: at("trace"),
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
  };
}
