/** The structure stays as src/index.ts describes it: imports go downward only, no file is unused, nothing is left undone. */
import { describe, expect, test } from "bun:test";
import { dirname, join, resolve } from "node:path";
import { root } from "./support/server.ts";

/**
 * The layers of src/, the top one first; each name is a folder or a file beside them. A file imports from its own folder
 * and from layers below its own, so that a folder can be read without those above it.
 */
const layers: readonly (readonly string[])[] = [
  ["index.ts"],
  ["longwire.ts"],
  ["endpoint"],
  ["connection", "access"],
  ["http", "command"],
  ["wire", "engine", "settings"],
  ["topic"],
  ["log.ts", "metrics.ts"],
];

/** Where a program begins: everything else has to be imported, from here on down. */
const entrances = ["index.ts", "longwire.ts"];

/** By file name. */
type Sources = Readonly<Record<string, string>>;

const sources = await read("src", "**/*.ts", ["text.d.ts"]);
const publicFiles = await read("public", "**/*");

describe("src/", () => {
  test("every folder has its layer", () => {
    expect(Object.keys(sources).filter((name) => layerOf(name) === -1)).toEqual([]);
  });

  test("imports go within a folder or to a layer below", () => {
    expect(upward(sources)).toEqual([]);
  });

  test("there is no circle of imports", () => {
    expect(circles(sources)).toEqual([]);
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
    const served = [...(sources["endpoint/page.ts"] ?? "").matchAll(/"#public\/([^"]+)"/g)].map(
      ([, name]) => name,
    );
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
  test("an import upward, to the side, of a type, and one that is made later", () => {
    const { length } = upward({
      "settings/config.ts": 'import { problem } from "../http/problem.ts";',
      "access/permissions.ts": 'import type { Peer } from "../connection/connection.ts";',
      "topic/hub.ts": 'export { a } from "../wire/cloud-events.ts";',
      "log.ts": 'const { a } = await import("./topic/hub.ts");',
      "http/problem.ts": 'import "../longwire.ts";',
      "endpoint/page.ts": 'import { problem } from "../http/problem.ts";', // Allowed: a layer below.
      "endpoint/topics/poll.ts": 'import { read } from "./request.ts";', // Allowed: its own folder.
      "endpoint/echo.ts": 'import { poll } from "./topics/poll.ts";', // An endpoint never imports another.
    });
    expect(length).toBe(6);
  });

  test("a file that only another dead file imports", () => {
    const dead = { "index.ts": "", "topic/hub.ts": 'import "./log.ts";', "topic/log.ts": "" };
    expect(unreached(dead, ["index.ts"])).toEqual(["topic/hub.ts", "topic/log.ts"]);
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

function upward(files: Sources): string[] {
  return Object.entries(files).flatMap(([name, source]) =>
    imports(name, source)
      .filter((imported) => folderOf(imported) !== folderOf(name) && layerOf(imported) <= layerOf(name))
      .map((imported) => `${name} imports ${imported}, which is not in its folder nor in a layer below`),
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
  const visit = (name: string): void => {
    const source = files[name] ?? "";
    for (const next of [...imports(name, source), ...links(source)]) {
      if (found.has(next) || !(next in files)) continue;
      found.add(next);
      visit(next);
    }
  };
  visit(name);
  return found;
}

/** The files that a module imports by a relative path, as paths from the top folder. */
function imports(name: string, source: string): string[] {
  const specifiers = source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"(\.{1,2}\/[^"]+\.ts)"/g);
  return [...specifiers].map(([, specifier]) => join(dirname(name), specifier as string));
}

/** What a page or a style sheet asks for. */
function links(source: string): string[] {
  const found = source.matchAll(/(?:href|src)="(?:\.?\/)?([^":#]+)"|url\("?(?:\.?\/)?([^":)]+)"?\)/g);
  return [...found].map(([, attribute, url]) => attribute ?? url ?? "");
}

function layerOf(name: string): number {
  return layers.findIndex((layer) => layer.includes(name.split("/", 1)[0] ?? ""));
}

/** Each endpoint is a folder or file of its own. */
function folderOf(name: string): string {
  return name.startsWith("endpoint/topics/")
    ? "endpoint/topics"
    : name.startsWith("endpoint/")
      ? name
      : dirname(name);
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
