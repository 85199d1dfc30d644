/**
 * What `longwire data` does with a data directory. A server may use it during a check and a backup; `restore` and
 * `beginNewEpochs` take its lock.
 */
import { Database } from "bun:sqlite";
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { DataDirectoryError } from "../data-directory-error.ts";
import type { CheckReport, Maintenance } from "../engine.ts";
import { checkRows } from "./data-check.ts";
import {
  databaseName,
  fileRowOf,
  lockDirectory,
  makeDirectory,
  messageOf,
  randomName,
  syncFile,
  witnessPrefix,
} from "./directory.ts";
import { codeOf, schemaVersion, versionOf } from "./schema.ts";

export const maintenance: Maintenance = { checkData, backUp, restore, beginNewEpochs };

function checkData(directory: string): CheckReport {
  using database = openExisting(join(directory, databaseName));
  const bytes = statSync(join(directory, databaseName)).size;
  try {
    requireKnownSchema(database, directory);
    const pages = database.query("PRAGMA integrity_check").all() as { integrity_check: string }[];
    const damage = pages.map((row) => row.integrity_check).filter((text) => text !== "ok");
    if (damage.length > 0) return { faults: damage, topics: 0, messages: 0, bytes };
    return { ...checkRows(database, versionOf(database) === 1), bytes };
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { faults: [String(error)], topics: 0, messages: 0, bytes };
  }
}

function backUp(directory: string, target: string): number {
  if (existsSync(target)) throw new DataDirectoryError(`${target} exists. Choose another path with --to`);
  using database = openExisting(join(directory, databaseName));
  const partial = `${target}.partial`;
  try {
    rmSync(partial, { force: true });
    database.query("VACUUM INTO ?").run(partial);
    syncFile(partial);
    renameSync(partial, target);
    syncFile(dirname(resolve(target)));
  } catch (error) {
    rmSync(partial, { force: true });
    throw new DataDirectoryError(`Cannot copy ${directory} to ${target}: ${messageOf(error)}`);
  }
  return statSync(target).size;
}

function restore(source: string, directory: string): string | undefined {
  requireBackup(source);
  makeDirectory(directory);
  using _lock = lockDirectory(directory);
  const partial = join(directory, `${databaseName}.partial`);
  copyFileSync(source, partial);
  syncFile(partial);
  const former = setAside(directory);
  renameSync(partial, join(directory, databaseName));
  syncFile(directory);
  return former;
}

function beginNewEpochs(directory: string): void {
  requireFile(join(directory, databaseName));
  using _lock = lockDirectory(directory);
  using database = openExisting(join(directory, databaseName));
  requireKnownSchema(database, directory);
  database.run("PRAGMA synchronous = FULL");
  database.query("UPDATE file SET generation = ?, since_time = ?").run(randomName(), Date.now());
}

function openExisting(path: string): Database {
  requireFile(path);
  try {
    const database = new Database(path, { create: false, readwrite: true });
    database.run("PRAGMA busy_timeout = 5000");
    return database;
  } catch (error) {
    throw new DataDirectoryError(`Cannot open ${path}: ${messageOf(error)}`);
  }
}

function requireFile(path: string): void {
  if (!existsSync(path))
    throw new DataDirectoryError(`There is no ${path}. Name the directory that the server has with --data`);
}

function requireKnownSchema(database: Database, directory: string): void {
  const version = versionOf(database);
  if (version < 1 || version > schemaVersion || !fileRowOf(database))
    throw new DataDirectoryError(
      `${join(directory, databaseName)} is of schema ${version}, and this Longwire knows 1 to ${schemaVersion}`,
    );
}

/** A live file whose write-ahead log stayed behind would lose its end. */
function requireBackup(source: string): void {
  requireFile(source);
  if (existsSync(`${source}-wal`))
    throw new DataDirectoryError(
      `${source} has a write-ahead log, so it is no backup but a file in use. Make one with "longwire data backup"`,
    );
  using database = new Database(source, { readonly: true });
  try {
    requireKnownSchema(database, dirname(source));
    const [first] = database.query("PRAGMA quick_check(1)").all() as { quick_check: string }[];
    if (first?.quick_check !== "ok")
      throw new DataDirectoryError(`${source} is damaged: ${first?.quick_check}`);
  } catch (error) {
    if (!isDamage(error)) throw error;
    throw new DataDirectoryError(`${source} is no backup of Longwire: ${messageOf(error)}`);
  }
}

/** Moves the former data into a directory of its own. Nothing is deleted. */
function setAside(directory: string): string | undefined {
  const names = readdirSync(directory).filter(
    (name) => (name.startsWith(databaseName) && !name.endsWith(".partial")) || name.startsWith(witnessPrefix),
  );
  if (names.length === 0) return undefined;
  const former = join(directory, `replaced-${new Date().toISOString().replace(/[-:]|\.\d+/g, "")}`);
  mkdirSync(former);
  for (const name of names) renameSync(join(directory, name), join(former, name));
  return former;
}

const isDamage = (error: unknown): boolean => /^SQLITE_(CORRUPT|NOTADB|IOERR|ERROR)/.test(codeOf(error));
