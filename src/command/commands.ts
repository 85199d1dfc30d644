/** The command lines of the commands beside the server: token, check and data; help, and mistakes. */
import { version } from "../../package.json";
import { type Config, completeConfig, settings } from "../settings/config.ts";
import { nearest } from "../settings/nearest.ts";
import { faultOfTopicName } from "../topic/message.ts";
import type { CheckTask } from "./check.ts";
import { checkSettings, compareSettings } from "./check-settings.ts";
import type { CompareTask } from "./compare.ts";
import type { DataTask } from "./data.ts";
import { type DataAction, dataActions } from "./data-settings.ts";
import { type InformationFlag, readFlags, refuseUnknownVariables, UsageError } from "./flags.ts";
import type { TokenClaims } from "./token.ts";
import { tokenSettings } from "./token-settings.ts";

/** The command that was asked for. */
export type CommandLine =
  | { readonly command: "serve"; readonly config: Config }
  | { readonly command: "token"; readonly claims: TokenClaims }
  | { readonly command: "data"; readonly task: DataTask }
  | { readonly command: "check"; readonly task: CheckTask }
  | { readonly command: "compare"; readonly task: CompareTask }
  | { readonly command: "print"; readonly text: string };

/** @param words those after the command @throws {UsageError} */
export async function readCommand(command: string, words: readonly string[]): Promise<CommandLine> {
  if (command === "token") return await readTokenCommand(words);
  if (command === "data") return await readDataCommand(words);
  if (command === "check") return await readCheckCommand(words);
  throw unknownCommand(command);
}

/** @param help the text that explains the command */
export async function answerTo(
  request: InformationFlag,
  help: keyof typeof import("./help.ts"),
): Promise<CommandLine> {
  return { command: "print", text: request === "version" ? version : (await import("./help.ts"))[help]() };
}

/** What to type for a word that is a command here, or in other programs. */
const commandsMeant: Readonly<Record<string, string>> = {
  check: "longwire check",
  token: "longwire token",
  data: "longwire data",
  serve: "longwire",
  server: "longwire",
  start: "longwire",
  run: "longwire",
  help: "longwire --help",
  version: "longwire --version",
};

function unknownCommand(word: string): UsageError {
  const meant = commandsMeant[nearest(word, Object.keys(commandsMeant)) ?? ""];
  const advice =
    meant === "longwire"
      ? '"longwire" without a command starts the server'
      : meant
        ? `"${meant}" was probably meant`
        : "there are check, token and data, and without one the server starts";
  return new UsageError(`There is no command "${word}": ${advice}`);
}

async function readTokenCommand(words: readonly string[]): Promise<CommandLine> {
  // That variable is the server's. Its topics must not become a permission of each token that is made beside the server.
  const { LONGWIRE_PRESENCE: _, ...environment } = process.env;
  const values = readSettings(words, tokenSettings, environment);
  if (typeof values === "string") return await answerTo(values, "tokenHelp");
  const { jwtSecrets, subject, ...claims } = completeConfig(tokenSettings, values);
  const { subscribe, publish, end, presence, member, status } = claims;
  const [secret] = jwtSecrets;
  if (secret === undefined) throw new UsageError("--jwt-secret is needed, the one that the server was given");
  if (!status && [subscribe, publish, end, presence].every((patterns) => patterns.length === 0))
    throw new UsageError(
      "This token would allow nothing: give it --subscribe, --publish or --end with topics, such as --subscribe 'news/*', or --presence or --status",
    );
  if (member && !subject) throw new UsageError("--member needs --sub, by which others know the member");
  return { command: "token", claims: { secret, ...claims, subject: subject || undefined } };
}

async function readCheckCommand([url = "", ...words]: readonly string[]): Promise<CommandLine> {
  if (url === "--compare") return readCompareCommand(words);
  const isNamed = url !== "" && !url.startsWith("-");
  const values = readSettings(isNamed ? words : [url, ...words].filter((word) => word !== ""), checkSettings);
  if (typeof values === "string") return await answerTo(values, "checkHelp");
  if (!isNamed) throw new UsageError("check needs a URL first: longwire check http://localhost:9090");
  const { topic, ...task } = completeConfig(checkSettings, values);
  const fault = topic === "" ? undefined : faultOfTopicName(topic);
  if (fault) throw new UsageError(fault.replace(/\.$/, ""));
  return { command: "check", task: { base: baseOf(url), topic, ...task } };
}

/** @param words the URLs, then flags */
function readCompareCommand(words: readonly string[]): CommandLine {
  const flagsAt = words.findIndex((word) => word.startsWith("-"));
  const urls = flagsAt === -1 ? words : words.slice(0, flagsAt);
  const values = readSettings(flagsAt === -1 ? [] : words.slice(flagsAt), compareSettings);
  if (typeof values === "string" || urls.length === 0)
    throw new UsageError(
      "--compare needs the URLs of servers: longwire check --compare https://a.example https://b.example",
    );
  const { token, json } = completeConfig(compareSettings, values);
  return { command: "compare", task: { bases: urls.map(baseOf), token, json } };
}

/** @returns the address of a server, with the prefix below which it is mounted @throws {UsageError} */
function baseOf(url: string): string {
  const parsed = URL.parse((url.includes("://") ? url : `http://${url}`).replace(/^ws/, "http"));
  if (!parsed || !/^https?:$/.test(parsed.protocol)) throw new UsageError(`"${url}" is no URL of a server`);
  return `${parsed.origin}${parsed.pathname.replace(/\/(ping)?$/, "")}`;
}

async function readDataCommand([action = "", ...words]: readonly string[]): Promise<CommandLine> {
  if (["", "-h", "--help"].includes(action)) return await answerTo("help", "dataHelp");
  if (!isDataAction(action))
    throw new UsageError(`There is no "data ${action}"; there are ${Object.keys(dataActions).join(", ")}`);
  // `restore FILE` reads better than `restore --from FILE`.
  const isNamed = action === "restore" && words[0] !== undefined && !words[0].startsWith("-");
  const values = readSettings(isNamed ? ["--from", ...words] : words, dataActions[action]);
  if (typeof values === "string") return await answerTo(values, "dataHelp");
  const needed = Object.entries(dataActions[action]).map(([name, { flag }]) => {
    const value = values[name];
    if (typeof value !== "string" || value === "")
      throw new UsageError(`--${flag} is needed: --${flag} <path>`);
    return value;
  });
  const [directory = "", file = ""] = needed;
  return { command: "data", task: { action, directory, file } };
}

/** @throws {UsageError} */
function readSettings(
  words: readonly string[],
  declared: Parameters<typeof readFlags>[1],
  environment: Parameters<typeof readFlags>[2] = process.env,
): ReturnType<typeof readFlags> {
  const values = readFlags(words, declared, environment);
  if (typeof values !== "string") refuseOtherVariables();
  return values;
}

/** Refuses the variables that are those of no command. @throws {UsageError} */
export const refuseOtherVariables = (): void =>
  refuseUnknownVariables(process.env, [
    settings,
    tokenSettings,
    checkSettings,
    ...Object.values(dataActions),
  ]);

const isDataAction = (word: string): word is DataAction => Object.hasOwn(dataActions, word);
