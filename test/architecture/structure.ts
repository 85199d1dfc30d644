/** The structure of src/: its layers, the way of a message through it, and what the files import. */
import { dirname, join, resolve } from "node:path";
import { root } from "../support/server.ts";

/** A folder or a file at the top of src/. */
export interface Room {
  readonly name: string;
  /** In a few words, for the picture. */
  readonly purpose: string;
}

/**
 * The layers of src/, the top one first. A file imports from its own folder and from the layers below, so that a folder can
 * be read without those above it.
 */
export const layers: readonly (readonly Room[])[] = [
  [{ name: "index.ts", purpose: "the command: settings, server, signals" }],
  [{ name: "longwire.ts", purpose: "the library: what a program calls" }],
  [{ name: "server.ts", purpose: "listens, reloads, drains, stops" }],
  [{ name: "assembly.ts", purpose: "joins all parts; only it knows them" }],
  [{ name: "endpoint", purpose: "one room for each door: ping, topics, page, documents, operations" }],
  [{ name: "subscriber", purpose: "a client's connection to topics: socket, stream, poll" }],
  [
    { name: "connection", purpose: "the register, reading, heartbeat, drain" },
    { name: "access", purpose: "keys and tokens become permissions" },
  ],
  [{ name: "delivery", purpose: "one message to its readers, and when one is cut" }],
  [
    { name: "http", purpose: "refusals, origins, proxies, listener" },
    { name: "command", purpose: "command line, check, token, data" },
  ],
  [
    { name: "client", purpose: "longwire/client, for browsers, programs, the page and check" },
    { name: "wire", purpose: "what is sent, byte for byte" },
    { name: "engine", purpose: "where topics are kept: memory, disk, Redis" },
    { name: "settings", purpose: "every setting, unit and limit" },
  ],
  [{ name: "topic", purpose: "messages, logs, the seam, channels, subscriptions" }],
  [
    { name: "log.ts", purpose: "lines for operators" },
    { name: "metrics.ts", purpose: "counters" },
    { name: "next-turn.ts", purpose: "lets others be served" },
  ],
];

/** The folder or file at the top of src/ that a file is in. */
export const roomOf = (name: string): string => name.split("/", 1)[0] ?? "";

/** `build.ts` and `build-page.ts` are programs beside the command. */
export const layerOf = (name: string): number => {
  const room = roomOf(name);
  return /^build(-page)?\.ts$/.test(room)
    ? 0
    : layers.findIndex((layer) => layer.some(({ name }) => name === room));
};

/** A publication in memory: from the request to its readers. */
export const route = [
  "endpoint/topics/publish.ts",
  "topic/hub.ts",
  "engine/memory/broker.ts",
  "topic/channel.ts",
  "delivery/topic-readers.ts",
] as const;

/** By file name. */
export type Sources = Readonly<Record<string, string>>;

/** @param folder at the top of the repository */
export async function readSources(
  folder: string,
  pattern: string,
  except: readonly string[] = [],
): Promise<Sources> {
  const directory = resolve(root, folder);
  const names = (await Array.fromAsync(new Bun.Glob(pattern).scan(directory))).toSorted();
  const kept = names.filter((name) => !except.includes(name));
  return Object.fromEntries(
    await Promise.all(kept.map(async (name) => [name, await Bun.file(resolve(directory, name)).text()])),
  );
}

/** The files that a module imports by a relative path, as paths from the top folder. */
export function imports(name: string, source: string): string[] {
  const specifiers = source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"(\.{1,2}\/[^"]+\.tsx?)"/g);
  return [...specifiers].map(([, specifier]) => join(dirname(name), specifier as string));
}
