/** A disk that fails, in place of the real one: test/support/failing-disk.c under a server. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./server.ts";
import { commandOf } from "./tool.ts";

export class FailingDisk implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "longwire-failing-disk-"));
  readonly #fault = join(this.#directory, "fault");
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

  /** @param error its number, such as 5 for EIO; with " sync" only syncs fail, with " sync longwire.db" those of one file */
  fail(error: string): void {
    writeFileSync(this.#fault, error);
  }

  mend(): void {
    rmSync(this.#fault, { force: true });
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true });
  }
}
