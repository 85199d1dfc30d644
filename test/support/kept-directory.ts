/** A directory that no program has open, which a test can put back as it was: its files are the same ones, and not copies. */
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

export class KeptDirectory implements Disposable {
  readonly #directory: string;
  /** Has a second name of each file, so that it stays where its first name is removed. */
  readonly #aside: string;
  readonly #files: readonly { name: string; bytes: Buffer; mode: number; uid: number; gid: number }[];

  constructor(directory: string) {
    this.#directory = directory;
    this.#aside = mkdtempSync(`${directory}-kept-`);
    this.#files = readdirSync(directory).map((name) => {
      const path = join(directory, name);
      linkSync(path, join(this.#aside, name));
      const { mode, uid, gid } = statSync(path);
      return { name, bytes: readFileSync(path), mode, uid, gid };
    });
  }

  restore(): void {
    for (const name of readdirSync(this.#directory)) rmSync(join(this.#directory, name), { recursive: true });
    for (const { name, bytes, mode, uid, gid } of this.#files) {
      const path = join(this.#directory, name);
      linkSync(join(this.#aside, name), path);
      chownSync(path, uid, gid);
      chmodSync(path, mode);
      writeFileSync(path, bytes); // Truncates the file, which stays the same one.
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#aside, { recursive: true });
  }
}
