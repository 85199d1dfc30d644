/** The text of `longwire --help` and `longwire token --help`. */
import { type Setting, settings } from "../settings/config.ts";
import { type Flag, flagsOf } from "./flags.ts";
import { tokenSettings } from "./token-settings.ts";

type Settings = Readonly<Record<string, Setting<unknown>>>;

/** Every setting of the server, once, by heading. The settings that most people need come first. */
const groups: Readonly<Record<string, readonly (keyof typeof settings)[]>> = {
  "Most used": ["port", "host", "apiKeys"],
  "Who may do what": [
    "jwtSecrets",
    "jwtPublicKeys",
    "jwksUrls",
    "jwtAudiences",
    "jwtIssuers",
    "publicTopics",
    "tokenCookie",
    "privatePing",
    "origins",
    "insecure",
  ],
  "What is kept": [
    "historyMessages",
    "historyAgeSeconds",
    "historyBytesMax",
    "positionAgeSeconds",
    "positionBytesMax",
    "idempotencyBytesMax",
  ],
  Limits: [
    "messageBytesMax",
    "bufferedBytesMax",
    "bufferedBytesTotalMax",
    "connectionsMax",
    "connectionsPerAddressMax",
    "messagesPerSecondMax",
    "heartbeatIntervalSeconds",
    "heartbeatTimeoutSeconds",
  ],
  Network: ["unixSocket", "tlsCertificateFile", "tlsKeyFile", "trustedProxies"],
  "Running it": ["drainDelaySeconds", "drainWindowSeconds", "logLevel"],
};

export function serverHelp(): string {
  return [
    "Usage: longwire [flags]",
    "       longwire token [flags]    prints a token for a client; longwire token --help says more",
    "",
    "Holds long connections: an echo line at /ping, topics at /topics/<name>, a page at /.",
    "Without flags it serves this machine alone. Start it and open the address that it prints.",
    ...Object.entries(groups).flatMap(([title, names]) => [
      "",
      `${title}:`,
      ...linesOf(flagsOf(pick(settings, names))),
    ]),
    "",
    "Help:",
    ...requestLines,
    "",
    "Each flag is an environment variable, too: --max-message is LONGWIRE_MAX_MESSAGE. A flag outranks its",
    "variable. PORT is read where LONGWIRE_PORT is not set. Lists take commas, or their flag again.",
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
    "Each flag is an environment variable, too: --jwt-secret is LONGWIRE_JWT_SECRET.",
    "Lists take commas, or their flag again. A time is written 90s, 10m, 2h or 1d.",
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
  return flags.map(({ word, setting: { unit, help, default: standard, flag, fromFile }, isFile }) => {
    if (isFile)
      return row(
        `${word} <path>`,
        `file to read --${flag} from${fromFile === "lines" ? ", one a line" : ""}`,
      );
    const shown = unit.show(standard);
    const isPlain = shown === "" || shown === "false";
    return row(`${word} ${unit.placeholder}`.trimEnd(), isPlain ? help : `${help} (${shown})`);
  });
}
