/** The text of `longwire --help` and `longwire token --help`. */
import { type Settings, settings } from "../settings/config.ts";
import { checkSettings } from "./check-settings.ts";
import { dataActions } from "./data-settings.ts";
import { type Flag, flagsOf } from "./flags.ts";
import { settingGroups } from "./setting-groups.ts";
import { tokenSettings } from "./token-settings.ts";

export function serverHelp(): string {
  return [
    "Usage: longwire [flags]",
    "       longwire token [flags]    prints a token for a client; longwire token --help says more",
    "       longwire check <url>      tries a server through what is in the way; longwire check --help says more",
    "       longwire data <action>    checks, backs up or restores the data; longwire data --help says more",
    "",
    "Holds long connections: an echo line at /ping, topics at /topics/<name>, a page at /.",
    "Without flags it serves this machine alone. Start it and open the address that it prints.",
    ...Object.entries(settingGroups).flatMap(([title, names]) => [
      "",
      `${title}:`,
      ...linesOf(flagsOf(pick(settings, names))),
    ]),
    "",
    "Help:",
    ...requestLines,
    "",
    "Each flag is an environment variable, too: --max-message is LONGWIRE_MAX_MESSAGE. A flag outranks its",
    "variable, and a LONGWIRE_… variable that is none is refused. PORT is read where LONGWIRE_PORT is not set.",
    "Lists take commas, or their flag again.",
    "A size is written 64KiB or 1MiB, a time 90s, 10m, 2h or 1d. docs/operations.md gives the reasons.",
  ].join("\n");
}

export function tokenHelp(): string {
  return [
    "Usage: longwire token [flags]",
    "",
    "Prints a token for a client, signed with the first --jwt-secret.",
    "",
    "Flags:",
    ...linesOf(flagsOf(tokenSettings)),
    requestLines[0],
    "",
    "Each flag but --presence is an environment variable, too: --jwt-secret is LONGWIRE_JWT_SECRET.",
    "Lists take commas, or their flag again. A time is written 90s, 10m, 2h or 1d.",
  ].join("\n");
}

export function checkHelp(): string {
  return [
    "Usage: longwire check <url> [flags]",
    "       longwire check --compare <url> <url>… [--token <name>] [--json]",
    "",
    "Opens each transport of a server through whatever is in the way: a WebSocket, an event stream, a poll, and",
    "HTTP/2 where there is TLS. Reports how long they take, and what buffers or cuts. Then it publishes messages,",
    "cuts its own lines on purpose, comes back, and counts what was lost.",
    "--compare measures several servers in turn and prints them, the nearest first.",
    "",
    "Flags:",
    ...linesOf(flagsOf(checkSettings)),
    requestLines[0],
    "",
    "Each flag is an environment variable, too: LONGWIRE_TOKEN keeps the token off the command line.",
    "The exit code is 1 where something is wrong. A gap that was told is no loss.",
  ].join("\n");
}

export function dataHelp(): string {
  return [
    "Usage: longwire data check --data <path>",
    "       longwire data backup --data <path> --to <path>",
    "       longwire data restore <file> --data <path>",
    "       longwire data new-epochs --data <path>",
    "",
    "check       reads every page and compares topics with their messages; a server may run meanwhile",
    "backup      copies the data into one file; a server may run meanwhile",
    "restore     puts a backup in the place of the data, which is kept beside it; no server may run",
    "new-epochs  makes the next start tell every client a gap, as after the restore of a snapshot; no server may run",
    "",
    "Flags:",
    ...linesOf(flagsOf({ ...dataActions.backup, ...dataActions.restore })),
    requestLines[0],
    "",
    "--data is LONGWIRE_DATA, too. The exit code is 1 where the data is damaged or cannot be used.",
  ].join("\n");
}

function pick(from: Settings, names: readonly string[]): Settings {
  return Object.fromEntries(names.flatMap((name) => (from[name] ? [[name, from[name]]] : [])));
}

/** Where descriptions begin. Nearly all flags end before it. */
const column = 38;

const row = (flag: string, description: string): string =>
  flag.length + 2 < column
    ? `  ${flag}`.padEnd(column) + description
    : `  ${flag}\n${" ".repeat(column)}${description}`;

const requestLines = [row("-h, --help", "print this help"), row("-v, --version", "print the version")];

function linesOf(flags: readonly Flag[]): string[] {
  return flags.map(
    ({ word, setting: { unit, help, default: standard, defaultWith, flag, fromFile }, isFile }) => {
      if (isFile)
        return row(
          `${word} <path>`,
          `file to read --${flag} from${fromFile === "lines" ? ", one a line" : ""}`,
        );
      const shown = unit.show(standard);
      const isPlain = shown === "" || shown === "false";
      const other = defaultWith ? `; ${unit.show(defaultWith.value)} with --${defaultWith.flag}` : "";
      return row(`${word} ${unit.placeholder}`.trimEnd(), isPlain ? help : `${help} (${shown}${other})`);
    },
  );
}
