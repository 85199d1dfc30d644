/** A filesystem of 64 MiB that a test can fill. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const run = (...words: string[]): number => Bun.spawnSync(words).exitCode ?? 1;

export class SmallDisk implements Disposable {
  readonly #filler: string;

  private constructor(readonly path: string) {
    this.#filler = join(path, "filler");
  }

  /** Needs root's right to mount. */
  static mount(): SmallDisk {
    const path = mkdtempSync(join(tmpdir(), "longwire-small-"));
    if (run("mount", "-t", "tmpfs", "-o", "size=64m", "longwire", path) !== 0)
      throw new Error("cannot mount a tmpfs");
    return new SmallDisk(path);
  }

  /** Leaves no block, until `free` is called or what it returns is disposed. */
  fill(): Disposable {
    // It ends with an error, since there is no end of zeros.
    run("dd", "if=/dev/zero", `of=${this.#filler}`, "bs=4k", "oflag=append", "conv=notrunc", "status=none");
    return { [Symbol.dispose]: () => this.free() };
  }

  /** Removes what fills it. */
  free(): void {
    rmSync(this.#filler, { force: true });
  }

  [Symbol.dispose](): void {
    run("umount", "-l", this.path);
    rmSync(this.path, { recursive: true, force: true });
  }
}
