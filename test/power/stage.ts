/**
 * A directory whose power is cut: a program writes to it and is killed, its journal says what a cut at any moment leaves, and
 * an engine that is opened on that must have what was acknowledged before that moment.
 */
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EngineLimits } from "../../src/engine/engine.ts";
import { beginCompanion, type Companion } from "../support/companion.ts";
import { Random } from "../support/random.ts";
import { makeOwn, type OldData } from "./fixtures/old-data.ts";
import { type Entry, WriteJournal } from "./journal.ts";
import type { Case, Verdict } from "./judge.ts";
import { keyedTopic, keysMax } from "./publications.ts";
import { type Files, filesAfterCut, type KeptFile, type Survival } from "./replay.ts";
import { type Dropped, droppedIn } from "./verdict.ts";
import type { Acknowledgement, WriterOptions } from "./writer.ts";

/** @param historyBytesMax a sixteenth of it, and at most 4 MiB, is merged at a time */
export const limitsWith = (historyMessages: number, historyBytesMax = 1024 ** 3): EngineLimits => ({
  ...{ historyMessages, historyBytesMax },
  historyAgeSeconds: 86_400,
  retain: [],
  keyed: [keyedTopic],
  keysMax,
  feeds: [],
  positionAgeSeconds: 86_400,
  positionBytesMax: 64 * 1024 ** 2,
  idempotencyBytesMax: 64 * 1024 ** 2,
});

export const workerUrl = new URL("../../src/engine/disk/worker.ts", import.meta.url);

/** Files that are not recorded, and not rebuilt. */
const isLeftAlone = (name: string): boolean =>
  name === "reserve" || name.startsWith("lock") || name.endsWith("-shm");

export interface Recording {
  readonly entries: readonly Entry[];
  /** The directory before the first entry, and what it must still have. */
  readonly before: Files;
  readonly acknowledgedBefore: readonly Acknowledgement[];
  readonly droppedBefore: Dropped;
  readonly limits: EngineLimits;
}

type Run = Pick<WriterOptions, "limits" | "seed" | "firstNumber" | "publications" | "secondsMin" | "failing">;

export class PowerStage implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "longwire-power-"));
  readonly #directory = join(this.#folder, "data");
  /** A second name of each file, by its id, so that it is still the same file where its first name was removed. */
  readonly #kept = join(this.#folder, "kept");
  readonly #journal = new WriteJournal();
  readonly #workerUrl: URL;
  /** Runs judge.ts. */
  #judge: Companion<never> | undefined;
  #files: Files = new Map();
  #acknowledged: readonly Acknowledgement[] = [];
  #dropped: Dropped = {};

  /** @param worker of the program that writes */
  constructor(worker = workerUrl) {
    this.#workerUrl = worker;
    mkdirSync(this.#directory);
    mkdirSync(this.#kept);
  }

  /** Begins with a data file of an earlier program, as if it had been made here just now. */
  adopt({ database, acknowledged }: OldData): void {
    const path = join(this.#directory, "longwire.db");
    writeFileSync(path, database);
    makeOwn(path);
    const names = readdirSync(this.#directory).filter((name) => !isLeftAlone(name));
    for (const name of names) linkSync(join(this.#directory, name), join(this.#kept, name));
    this.#files = new Map(
      names.map((name) => [name, { id: name, bytes: readFileSync(join(this.#directory, name)) }]),
    );
    this.#acknowledged = acknowledged;
  }

  /** Lets a program write until it has done enough, and kills it. */
  async record(run: Run): Promise<Recording> {
    this.#rebuild(this.#files);
    const options: WriterOptions = { ...run, directory: this.#directory, workerUrl: this.#workerUrl.href };
    const writer = Bun.spawn(
      [process.execPath, "run", join(import.meta.dir, "writer.ts"), JSON.stringify(options)],
      {
        env: { ...process.env, ...this.#journal.environment(this.#directory) },
        stdin: "pipe", // It ends with this process.
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const errors = new Response(writer.stderr).text();
    const { value } = await writer.stdout.getReader().read();
    writer.kill("SIGKILL");
    await writer.exited;
    if (value === undefined) throw new Error(`the writer ended: ${await errors}`);
    const recording = {
      entries: this.#journal.take(),
      before: this.#files,
      acknowledgedBefore: this.#acknowledged,
      droppedBefore: this.#dropped,
      limits: run.limits,
    };
    this.#keep(recording);
    return recording;
  }

  /**
   * Cuts the power after some entry, and opens an engine on what is left.
   * @param goesOn where the next recording begins with what is left
   * @returns how many acknowledged messages were before the cut
   */
  async cut(
    { entries, before, acknowledgedBefore, droppedBefore, limits }: Recording,
    {
      at,
      survival,
      random,
      goesOn = false,
    }: { at: number; survival: Survival; random: Random; goesOn?: boolean },
  ): Promise<number> {
    const files = filesAfterCut(before, entries, at, survival, random);
    const acknowledged = [...acknowledgedBefore, ...acknowledgedIn(entries.slice(0, at))];
    this.#rebuild(files);
    const found = await this.#verdictOf({ acknowledged, dropped: droppedBefore, limits });
    if (goesOn) {
      this.#files = files;
      this.#acknowledged = found;
      this.#dropped = droppedIn(found);
    }
    return acknowledged.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#judge?.[Symbol.asyncDispose]();
    this.#journal[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true });
  }

  /** Gives each file its second name, and shows that the journal has every change. */
  #keep({ before, entries }: Recording): void {
    const files = filesAfterCut(before, entries, entries.length, "all", new Random(0));
    for (const name of readdirSync(this.#directory).filter((name) => !isLeftAlone(name))) {
      const path = join(this.#directory, name);
      const file = files.get(name);
      if (!hasEveryChange(before, entries, name, readFileSync(path)))
        throw new Error(`the journal lacks a change of ${name}`);
      if (file && !existsSync(this.#keptPath(file))) linkSync(path, this.#keptPath(file));
    }
  }

  #keptPath({ id }: KeptFile): string {
    return join(this.#kept, id);
  }

  /** The same files with these bytes: in another one the engine would find out a copy, and begin new epochs. */
  #rebuild(files: Files): void {
    for (const name of readdirSync(this.#directory))
      if (name !== "reserve") rmSync(join(this.#directory, name));
    for (const [name, file] of files) {
      const path = join(this.#directory, name);
      if (existsSync(this.#keptPath(file))) linkSync(this.#keptPath(file), path);
      writeFileSync(path, file.bytes, { flag: existsSync(path) ? "r+" : "w" });
      truncateSync(path, file.bytes.length);
    }
  }

  async #verdictOf(what: Omit<Case, "directory">): Promise<readonly Acknowledgement[]> {
    const given: Case = { directory: this.#directory, ...what };
    this.#judge ??= await beginCompanion("test/power/judge.ts", []);
    const { found, fault, isLast }: Verdict = JSON.parse(await this.#judge.ask(JSON.stringify(given)));
    if (isLast) {
      await this.#judge[Symbol.asyncDispose]();
      this.#judge = undefined;
    }
    if (found === undefined || fault !== undefined) throw new Error(fault);
    return found;
  }
}

const acknowledgedIn = (entries: readonly Entry[]): Acknowledgement[] =>
  entries.filter(({ kind }) => kind === "note").map(({ data }) => JSON.parse(data.toString()));

/** The program may have been killed before or within its last change, which was recorded before. */
function hasEveryChange(before: Files, entries: readonly Entry[], name: string, bytes: Buffer): boolean {
  const lastIndex = entries.findLastIndex(
    (entry) => entry.name === name && (entry.kind === "write" || entry.kind === "truncate"),
  );
  const last = entries[lastIndex];
  const [begin, end] = last?.kind === "write" ? [last.offset, last.offset + last.data.length] : [0, 0];
  return [entries, entries.toSpliced(lastIndex, lastIndex < 0 ? 0 : 1)].some((some) => {
    const file = filesAfterCut(before, some, some.length, "all", new Random(0)).get(name);
    const expected = file?.bytes ?? Buffer.alloc(0);
    return (
      bytes.subarray(0, begin).equals(expected.subarray(0, begin)) &&
      bytes.subarray(end).equals(expected.subarray(end))
    );
  });
}
