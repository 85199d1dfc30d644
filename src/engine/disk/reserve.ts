/**
 * A file that only takes space. When the disk is full it is removed, and there is room for a start and for retention, which
 * writes before it gives space back. Nothing is published while it is missing, so that publications do not take that room.
 */
import { randomFillSync } from "node:crypto";
import { closeSync, openSync, rmSync, statfsSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { codeOf } from "./schema.ts";

/** Retention fills 4 MiB of the write-ahead log before SQLite moves it into the file, and a slice of it adds 2 MiB. */
const reserveBytes = 8 * 1024 * 1024;

/** All of it at once would take as much memory at each first start, and ten times the processor time for new pages. */
const pieceBytes = 64 * 1024;

/** With less, publishing would soon be refused again. So it does not go on and off while the disk is almost full. */
const freeBytesMin = 2 * reserveBytes;

class DiskFull extends Error {}

export const isFull = (error: unknown): boolean =>
  error instanceof DiskFull ||
  ["SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"].includes(codeOf(error)) ||
  (error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT"));

const pathOf = (directory: string): string => join(directory, "reserve");

const hasReserve = (directory: string): boolean =>
  statSync(pathOf(directory), { throwIfNoEntry: false })?.size === reserveBytes;

const freeBytes = (directory: string): number => {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
};

/** Makes the reserve, if it is missing. @throws {DiskFull} */
export function requireReserve(directory: string): void {
  if (hasReserve(directory)) return;
  const free = freeBytes(directory);
  if (free < freeBytesMin)
    throw new DiskFull(
      `the disk is full: ${directory} has ${Math.floor(free / 2 ** 20)} MiB free and needs ${freeBytesMin / 2 ** 20}`,
    );
  try {
    writeReserve(pathOf(directory));
  } catch (error) {
    releaseReserve(directory);
    throw error;
  }
}

function writeReserve(path: string): void {
  const piece = Buffer.alloc(pieceBytes);
  const file = openSync(path, "w");
  try {
    let left = reserveBytes;
    while (left > 0) left -= writeSync(file, randomFillSync(piece), 0, Math.min(pieceBytes, left)); // Filesystems compress zeros.
  } finally {
    closeSync(file);
  }
}

export function releaseReserve(directory: string): void {
  rmSync(pathOf(directory), { force: true });
}

/** Makes room for a start. */
export function releaseReserveIfFull(directory: string): void {
  if (freeBytes(directory) < reserveBytes) releaseReserve(directory);
}
