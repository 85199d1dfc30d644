#!/usr/bin/env node
/**
 * The command of the package. It runs src/index.ts by Bun, which is found on PATH or fetched by npm.
 *
 * Plain JavaScript for Node 20 or newer: this is all that runs on a machine without Bun.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const isWindows = process.platform === "win32";
const { engines } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const neededVersion = engines.bun.replace(">=", "");
const need = `longwire: this needs Bun ${neededVersion} or newer`;

if (isNewEnough(process.versions.bun)) await import("../src/index.ts");
else await main();

async function main() {
  const bun = bunOnPath() ?? (await bunOfNpm());
  if (bun === undefined) process.exitCode = 1;
  else
    await become(bun, [fileURLToPath(new URL("../src/index.ts", import.meta.url)), ...process.argv.slice(2)]);
}

function bunOnPath() {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, isWindows ? "bun.exe" : "bun"))
    .find((path) => existsSync(path) && isFit(path));
}

/** @returns the path of the Bun in npm's cache; nothing if there is none, and the reason is printed */
async function bunOfNpm() {
  console.error(
    `${need}, which is not on PATH. npm is asked for it, and fetches about 40 MB the first time.`,
  );
  const flags = ["exec", "--yes", "--loglevel=error", `--package=bun@${neededVersion}`];
  const { exitCode, output } = await run("npm", [...flags, "--", "node", "-p", "process.env.PATH"]);
  if (exitCode === "ENOENT") {
    console.error("longwire: npm is not there either. Install Bun from https://bun.sh.");
    return undefined;
  }
  const folders = output.trim().split(delimiter);
  const folder = folders
    .map((path) => join(path, "../bun"))
    .find((path) => existsSync(join(path, "install.js")));
  if (folder !== undefined) {
    const bun = join(folder, "bin/bun.exe"); // Its name on every platform.
    // Where npm may not run the scripts of packages, the file is only a placeholder.
    if (!isFit(bun)) await run(process.execPath, [join(folder, "install.js")]);
    if (isFit(bun)) return bun;
  }
  console.error(
    `${need}, and npm could not provide it (npm's exit code: ${exitCode}). Install it from https://bun.sh.`,
  );
  return undefined;
}

/** Replaces this process where Node can, else stands for it: the same output, signals and end. */
async function become(bun, args) {
  if (process.execve) process.execve(bun, [bun, ...args], process.env);
  const { exitCode } = await run(bun, args, "inherit");
  process.exitCode = exitCode;
}

/**
 * Runs a command to its end and passes signals on to it. A signal that ends the command, or comes while its output is read,
 * ends this process too.
 * @returns its exit code, or the code of the error if it cannot be started
 */
async function run(command, args, stdio = ["ignore", "pipe", "inherit"]) {
  // In a session of its own, so that Ctrl+C reaches it once: at a second SIGINT the server ends without closing anything.
  const child = spawn(command, args, { stdio, detached: !isWindows, shell: isWindows && command === "npm" });
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text) => {
    output += text;
  });
  let received;
  const pass = (signal) => {
    received = signal;
    const isRunning = child.pid !== undefined && child.exitCode === null && child.signalCode === null;
    if (isRunning) process.kill(isWindows ? child.pid : -child.pid, signal); // All of its session: npm starts others.
  };
  const signals = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"];
  for (const signal of signals) process.on(signal, pass);
  const { exitCode, endedBy } = await new Promise((resolve) => {
    child.on("error", ({ code }) => resolve({ exitCode: code }));
    child.on("close", (exitCode, endedBy) => resolve({ exitCode, endedBy }));
  });
  for (const signal of signals) process.off(signal, pass);
  const fatal = endedBy ?? (child.stdout && received);
  if (fatal) process.kill(process.pid, fatal);
  return { exitCode, output };
}

/** Whether the file is a Bun that can run the server. */
function isFit(path) {
  const { status, stdout } = spawnSync(path, ["--version"], {
    encoding: "utf8",
    timeout: 5000,
    stdio: ["ignore", "pipe", "ignore"],
  });
  return status === 0 && isNewEnough(stdout.trim());
}

/** @param version such as "1.4.5", or nothing */
function isNewEnough(version = "0") {
  return version.localeCompare(neededVersion, "en", { numeric: true }) >= 0;
}
