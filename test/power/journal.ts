/** The journal that journal.c makes of what a program does to the files of a directory. */
import { dlopen, ptr } from "bun:ffi";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commandOf } from "../support/tool.ts";

/** In the order of `enum` in journal.c. */
const kinds = ["write", "truncate", "unlink", "rename", "sync begin", "sync end", "note"] as const;

/** One step of the program. `name` is that of a file in the directory, "" for the directory itself. */
export interface Entry {
  readonly kind: (typeof kinds)[number];
  readonly thread: number;
  readonly name: string;
  /** Of the end of a sync: 0, or the negative number of its error. */
  readonly result: number;
  /** Where a write begins, or the length after a truncation. */
  readonly offset: number;
  /** What was written, the new name of a renamed file, or the text of a note. */
  readonly data: Buffer;
}

const headBytes = 32;

export class WriteJournal implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "longwire-journal-"));
  readonly #library = join(this.#folder, "journal.so");
  readonly #path = join(this.#folder, "journal");

  constructor() {
    const source = join(import.meta.dir, "journal.c");
    const { exitCode, stderr } = Bun.spawnSync([
      ...[commandOf("cc"), "-O1", "-shared", "-fPIC", "-o", this.#library, source, "-ldl"],
    ]);
    if (exitCode !== 0) throw new Error(`${source} could not be compiled: ${stderr}`);
  }

  /** Of a program whose steps are recorded. @param directory its full path */
  environment(directory: string): Record<string, string> {
    return { LD_PRELOAD: this.#library, JOURNAL_DIRECTORY: directory, JOURNAL_FILE: this.#path };
  }

  /** The steps of a program that has ended, which are then forgotten. */
  take(): Entry[] {
    const bytes = readFileSync(this.#path);
    rmSync(this.#path);
    const entries: Entry[] = [];
    for (let at = 0; at < bytes.length; ) {
      const [nameBytes, dataBytes] = [bytes.readInt32LE(at + 8), Number(bytes.readBigInt64LE(at + 24))];
      const nameAt = at + headBytes;
      const dataAt = nameAt + nameBytes;
      const kind = kinds[bytes.readInt32LE(at)];
      if (!kind) throw new Error(`the journal has no record at ${at}`);
      entries.push({
        kind,
        thread: bytes.readInt32LE(at + 4),
        name: bytes.toString("utf8", nameAt, dataAt),
        result: bytes.readInt32LE(at + 12),
        offset: Number(bytes.readBigInt64LE(at + 16)),
        data: bytes.subarray(dataAt, dataAt + dataBytes),
      });
      at = dataAt + dataBytes;
    }
    return entries;
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true });
  }
}

/** The journal of this process, which was started with `environment`. */
export class OwnJournal {
  readonly #library = dlopen(process.env.LD_PRELOAD ?? "", {
    note: { args: ["ptr", "i32"], returns: "void" },
    fail_syncs: { args: ["i32", "ptr"], returns: "void" },
  });

  note(text: string): void {
    const bytes = Buffer.from(text);
    this.#library.symbols.note(ptr(bytes), bytes.length);
  }

  /** The next `count` syncs of files with such an end of the name fail with EIO. */
  failSyncs(count: number, nameEnd: string): void {
    this.#library.symbols.fail_syncs(count, ptr(Buffer.from(`${nameEnd}\0`)));
  }
}
