/** A disk that fails and loses power, in place of the real one: test/support/failing-disk.c under a server. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./server.ts";
import { commandOf } from "./tool.ts";

const pageBytes = 4096;

export class FailingDisk implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "longwire-failing-disk-"));
  readonly #fault = join(this.#directory, "fault");
  readonly #durable = mkdtempSync(join(this.#directory, "durable-"));
  readonly #library = join(this.#directory, "failing-disk.so");

  constructor() {
    const source = join(root, "test/support/failing-disk.c");
    const command = [commandOf("cc"), "-shared", "-fPIC", "-o", this.#library, source, "-ldl"];
    const { exitCode, stderr } = Bun.spawnSync(command);
    if (exitCode !== 0) throw new Error(`${source} could not be compiled: ${stderr}`);
  }

  /** Of a server whose writes and syncs may fail. */
  get environment(): Record<string, string> {
    return { LD_PRELOAD: this.#library, FAULT_FILE: this.#fault };
  }

  /** Of a server whose power may be cut as well: it needs Linux 6.5, which says which pages are dirty (cachestat). It has the same directory from its first start on. */
  get environmentWithPower(): Record<string, string> {
    return { ...this.environment, DURABLE_DIRECTORY: this.#durable };
  }

  /** @param error its number, such as 5 for EIO; with " sync" only syncs fail, with " sync longwire.db" those of one file */
  fail(error: string): void {
    writeFileSync(this.#fault, error);
  }

  mend(): void {
    rmSync(this.#fault, { force: true });
  }

  /**
   * Makes a directory, whose server was killed, what a power cut leaves of it. The files stay the same, with their inodes.
   * @param isKept whether a page that was not synced is on the disk nevertheless
   */
  cutPower(directory: string, isKept: () => boolean): void {
    rmSync(join(directory, "longwire.db-shm"), { force: true }); // SQLite makes it anew.
    for (const name of ["longwire.db", "longwire.db-wal"]) {
      const path = join(directory, name);
      if (!existsSync(path)) continue;
      const durablePath = join(this.#durable, name);
      const durable = existsSync(durablePath) ? readFileSync(durablePath) : Buffer.alloc(0);
      const cached = readFileSync(path);
      for (let at = 0; at < cached.length; at += pageBytes)
        if (at < durable.length && isKept()) cached.copy(durable, at, at, at + pageBytes);
      writeFileSync(durablePath, durable);
      writeFileSync(path, durable);
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true });
  }
}
