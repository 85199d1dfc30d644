/** The Worker of the engine on disk without the promise that a commit is durable: with it a power cut must be found to lose messages. */
import { Database } from "bun:sqlite";
import "../../src/engine/disk/worker.ts";

const { run } = Database.prototype;

Database.prototype.run = function (this: Database, sql: string, ...parameters: []) {
  return run.call(this, sql.replace(/synchronous\s*=\s*FULL/i, "synchronous = NORMAL"), ...parameters);
};
