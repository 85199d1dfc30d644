/**
 * The Worker of the engine on disk, which a test can hold up: it stands still while its directory has a file `silence`, and
 * dies once if it has a file `death`.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { WorkerRequest } from "../../src/engine/disk/protocol.ts";
import "../../src/engine/disk/worker.ts";

declare const self: Worker;

let directory = "";
const nothing = new Int32Array(new SharedArrayBuffer(4));
const handle = self.onmessage;

self.onmessage = (event: MessageEvent<WorkerRequest>) => {
  if (event.data.kind === "open") directory = event.data.directory;
  while (existsSync(join(directory, "silence"))) Atomics.wait(nothing, 0, 0, 50);
  const death = join(directory, "death");
  if (existsSync(death)) {
    rmSync(death);
    process.exit(1); // Ends this Worker alone.
  }
  handle?.call(self, event);
};
