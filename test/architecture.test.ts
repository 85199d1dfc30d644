/** The house stays as its map says: imports run downward only, nothing lies about unused, and no leftovers. */
import { describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { root } from "./support/server.ts";

/**
 * The floors of src/, the top one first. A file imports only from floors beneath its own, so there can be no circle, and
 * files of one floor do not know each other. A new file is given its place here: as low as what it imports allows.
 */
const floors: readonly (readonly string[])[] = [
  ["index.ts"],
  ["command-line.ts"],
  ["longwire.ts"],
  ["echo.ts", "page.ts", "topics.ts", "operations.ts"], // The endpoints.
  ["topic-socket.ts", "event-stream.ts", "message-iterator.ts", "publish.ts", "poll.ts"], // The ends of a topic.
  ["handshake.ts", "fan-out.ts", "gate.ts", "listener.ts"],
  ["access.ts", "connection.ts", "hub.ts"],
  ["broker-memory.ts", "broker-metered.ts", "envelope.ts", "frame.ts", "origin.ts", "refusal.ts"],
  ["broker.ts", "retention.ts", "subscription.ts"],
  ["topic-log.ts", "topic-request.ts", "metrics.ts", "http.ts", "proxies.ts", "token.ts"],
  ["log.ts"],
  ["config.ts"],
  ["units.ts"],
  ["message.ts"],
  ["draft.ts", "json-member.ts"],
];

/** Where a program begins: everything else has to be imported, from here on down. */
const entrances = ["index.ts", "longwire.ts"];

/** By file name. */
type Sources = Readonly<Record<string, string>>;

const sources = await read("src", "*.ts", ["text.d.ts"]);
const publicFiles = await read("public", "**/*");

describe("src/", () => {
  test("every file has its floor", () => {
    expect(unplaced(sources)).toEqual([]);
  });

  test("imports run downward only", () => {
    expect(upward(sources)).toEqual([]);
  });

  test("every file is imported from index.ts or longwire.ts on down", () => {
    expect(unreached(sources, entrances)).toEqual([]);
  });

  test("there is no `any`, no empty catch and no note of work left undone", () => {
    expect(leftovers(sources)).toEqual([]);
  });
});

describe("public/", () => {
  test("every file is reached from index.html on down", () => {
    expect(unreached(publicFiles, ["index.html"])).toEqual([]);
  });

  test("every file is served by page.ts", () => {
    const served = [...(sources["page.ts"] ?? "").matchAll(/"#public\/([^"]+)"/g)].map(([, name]) => name);
    expect(served.toSorted()).toEqual(Object.keys(publicFiles).toSorted());
  });

  test("there is no circle of imports", () => {
    expect(circles(publicFiles)).toEqual([]);
  });

  test("there is no `any`, no empty catch and no note of work left undone", () => {
    expect(leftovers(publicFiles)).toEqual([]);
  });
});

describe("these rules find", () => {
  test("a file without a floor, and say where to give it one", () => {
    const [complaint, ...others] = unplaced({ "echo.ts": "", "stray.ts": "" });
    expect(complaint).toContain("stray.ts");
    expect(complaint).toContain("test/architecture.test.ts");
    expect(others).toEqual([]);
  });

  test("an import upward, to the side, of a type, and one that is made later", () => {
    const { length } = upward({
      "units.ts": 'import { settings } from "./config.ts";',
      "echo.ts": 'import type { Routes } from "./page.ts";',
      "hub.ts": 'export { a } from "./connection.ts";',
      "log.ts": 'const { a } = await import("./hub.ts");',
      "http.ts": 'import "./longwire.ts";',
      "page.ts": 'import { problem } from "./http.ts";', // This one may.
    });
    expect(length).toBe(5);
  });

  test("a file that only another dead file imports", () => {
    const dead = { "index.ts": "", "hub.ts": 'import "./broker.ts";', "broker.ts": "" };
    expect(unreached(dead, ["index.ts"])).toEqual(["broker.ts", "hub.ts"]);
  });

  test("a circle", () => {
    const circle = { "a.ts": 'import "./b.ts"', "b.ts": 'import "./c.ts"', "c.ts": 'import "./a.ts"' };
    expect(circles({ ...circle, "d.ts": 'import "./a.ts"' })).toEqual(["a.ts", "b.ts", "c.ts"]);
  });

  test("each kind of leftover, and not the words in a comment or a text", () => {
    const found = leftovers({
      "a.ts": "// TO" + "DO: later",
      "b.ts": "/* FIX" + "ME */",
      "c.ts": "const a: any = 1;",
      "d.ts": "return b as any;",
      "e.ts": "const c: Map<string, any>;",
      "f.ts": "try { a(); } catch {}",
      "g.ts": "try { a(); } catch (error) { \n }",
      "h.ts": "a.catch(() => {});",
      "fine.ts": '// any: free\nconst a = "any, such as: any";\ntry { a(); } catch (error) { log(error); }',
    });
    expect(found.map((complaint) => complaint.slice(0, 4))).toEqual(
      ["a", "b", "c", "d", "e", "f", "g", "h"].map((name) => `${name}.ts`),
    );
  });
});

async function read(folder: string, pattern: string, except: readonly string[] = []): Promise<Sources> {
  const directory = resolve(root, folder);
  const names = (await Array.fromAsync(new Bun.Glob(pattern).scan(directory))).toSorted();
  const kept = names.filter((name) => !except.includes(name));
  return Object.fromEntries(
    await Promise.all(kept.map(async (name) => [name, await Bun.file(resolve(directory, name)).text()])),
  );
}

function unplaced(files: Sources): string[] {
  return Object.keys(files)
    .filter((name) => floorOf(name) === -1)
    .map((name) => `${name} has no floor: give it one in the table of test/architecture.test.ts`);
}

function upward(files: Sources): string[] {
  return Object.entries(files).flatMap(([name, source]) =>
    imports(source)
      .filter((imported) => floorOf(imported) <= floorOf(name))
      .map((imported) => `${name} imports ${imported}, which is not on a floor beneath it`),
  );
}

function unreached(files: Sources, from: readonly string[]): string[] {
  const reached = new Set(from.flatMap((name) => [name, ...below(name, files)]));
  return Object.keys(files)
    .filter((name) => !reached.has(name))
    .toSorted();
}

function circles(files: Sources): string[] {
  return Object.keys(files).filter((name) => below(name, files).has(name));
}

/** Everything that a file brings in, directly or through others. */
function below(name: string, files: Sources): Set<string> {
  const found = new Set<string>();
  const visit = (source: string): void => {
    for (const next of [...imports(source), ...links(source)]) {
      if (found.has(next) || !(next in files)) continue;
      found.add(next);
      visit(files[next] ?? "");
    }
  };
  visit(files[name] ?? "");
  return found;
}

/** What a module imports from its own folder. */
function imports(source: string): string[] {
  return [...source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"\.\/([^"]+)"/g)].map(([, name]) => name as string);
}

/** What a page or a style sheet asks for. */
function links(source: string): string[] {
  const found = source.matchAll(/(?:href|src)="(?:\.?\/)?([^":#]+)"|url\("?(?:\.?\/)?([^":)]+)"?\)/g);
  return [...found].map(([, attribute, url]) => attribute ?? url ?? "");
}

function floorOf(name: string): number {
  return floors.findIndex((floor) => floor.includes(name));
}

function leftovers(files: Sources): string[] {
  return Object.entries(files).flatMap(([name, source]) => {
    const code = withoutText(source);
    return [
      /\b(?:TODO|FIXME|XXX|HACK)\b/.test(source) && "has a note of work left undone",
      /(?:[:<,|&(=]|\bas)\s*any\b/.test(code) && "uses `any`",
      /\bcatch\s*(?:\([^)]*\)\s*)?\{\s*\}|\.catch\(\s*\([^)]*\)\s*=>\s*\{\s*\}\s*\)/.test(code) &&
        "catches a failure and lets it vanish",
    ]
      .filter((complaint) => complaint !== false)
      .map((complaint) => `${name} ${complaint}`);
  });
}

/** The code alone: no comments, and what stands in quotes is emptied. */
function withoutText(source: string): string {
  return source.replaceAll(/\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|\/\/[^\n]*/g, (text) =>
    text.startsWith('"') ? '""' : "",
  );
}
