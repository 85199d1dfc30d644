/**
 * The structure stays as src/index.ts describes it: imports go downward only, functions are short, no work is left undone.
 * Unused files, exports and dependencies are found by \`bun run unused\`.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { dirname, resolve } from "node:path";
import { root } from "../support/server.ts";
import { drawStructure } from "./picture.ts";
import { imports, layerOf, readSources, route, type Sources } from "./structure.ts";

setDefaultTimeout(120_000);

/** In lines, the first and the last included. */
const functionLinesMax = 70;

/** The same for the body of a `describe`, which is a list of tests, and for functions of that name. */
const describeLinesMax = 250;

const sources = await readSources("src", "**/*.ts", ["text.d.ts"]);
const publicFiles = await readSources("public", "**/*");
const testFiles = await readSources("test", "**/*.ts");

describe("src/", () => {
  test("every folder has its layer", () => {
    expect(Object.keys(sources).filter((name) => layerOf(name) === -1)).toEqual([]);
  });

  test("no file but the settings' own has more than 400 lines", () => {
    const long = Object.entries(sources).filter(([, source]) => source.split("\n").length > 401);
    expect(long.map(([name]) => name)).toEqual(["settings/config.ts"]);
  });

  test("imports go within a folder or to a layer below", () => {
    expect(upward(sources)).toEqual([]);
  });

  test("a publication takes at most five files, which the head of index.ts names in their order", () => {
    const head = (sources["index.ts"] ?? "").split("*/", 1)[0] ?? "";
    expect(route.filter((file) => !(file in sources))).toEqual([]);
    expect(route.length).toBeLessThanOrEqual(5);
    const places = route.map((file) => head.indexOf(file));
    expect(places).not.toContain(-1);
    expect(places).toEqual(places.toSorted((one, other) => one - other));
  });

  test("the register has two kinds of connection: both hold a handler, and an endpoint only adds handlers", () => {
    expect(filesWith(/class \w+\s+extends OpenConnection\b/)).toEqual([
      "connection/connection.ts",
      "connection/http-connection.ts",
    ]);
    const sets = sources["connection/connections.ts"]?.match(/new (?:SocketList|Set<\w+>|Map<.+>)\(\)/g);
    expect(sets).toEqual([
      "new SocketList()",
      "new Set<HttpConnection>()",
      "new Map<string | undefined, ClientAddress>()",
    ]);
    expect(filesWith(/(?:extends|implements)\s+(?:\w+,\s+)*(?:Http)?Connection\b/)).toEqual([]);
  });

  test("one rule cuts a slow reader, and only delivery asks it", () => {
    expect(filesWith(/from "[^"]*\/rule\.ts"/)).toEqual([
      "delivery/held-bytes.ts",
      "delivery/topic-readers.ts",
    ]);
    expect(filesWith(/\bcounters\.cut\[|\bcut\.(?:slow|buffered_total)\b/)).toEqual(["delivery/cutter.ts"]);
  });

  test("an engine is known only to itself and to the file that opens it", () => {
    expect(engineImports(sources)).toEqual([
      "assembly.ts imports engine/memory/open.ts",
      "assembly.ts imports engine/redis/open.ts",
      "assembly.ts imports engine/disk/open.ts",
      "assembly.ts imports engine/disk/maintenance.ts",
    ]);
  });

  test("a setting is read only where a flag or an option is, and nobody else has the readers of its text", () => {
    expect(filesWith(/\bunit\??\.(?:parse|accept)\(/)).toEqual(["command/flags.ts", "settings/config.ts"]);
    const readers = /\b(?:parseRedisUrl|readPublicKey|Network\.parse|settings\/units\.ts)\b/;
    const declaring = ["command/check-settings.ts", "command/data-settings.ts", "command/token-settings.ts"];
    const outside = filesWith(readers).filter((name) => !name.startsWith("settings/"));
    expect(outside).toEqual(declaring);
  });

  test("the text of a mistake begins as a sentence does, with a capital, or with the name of what is wrong", () => {
    const texts = Object.values(sources).flatMap((source) =>
      [...source.matchAll(/new (?:ConfigError|UsageError|DataDirectoryError)\(\s*["'`](\w+ \w+)/g)].map(
        ([, text]) => text,
      ),
    );
    expect(texts.length).toBeGreaterThan(20);
    const isName = /^(?:prefix must|check needs)$/;
    expect(texts.filter((text = "") => !/^[A-Z]/.test(text) && !isName.test(text))).toEqual([]);
  });

  test("only one file waits for the next turn of the event loop by a promise", () => {
    expect(filesWith(/new Promise(?:<\w+>)?\([^;]*?setImmediate/)).toEqual(["next-turn.ts"]);
  });

  test("no two types have one name", () => {
    expect(twice(sources)).toEqual([]);
  });

  test("docs/architecture.svg shows it (bun run picture)", async () => {
    const picture = await Bun.file(resolve(root, "docs/architecture.svg")).text();
    expect(picture).toBe(drawStructure(sources));
  });
});

describe("public/", () => {
  test("the ground of the page imports no panel", () => {
    const imports = Object.entries(publicFiles).flatMap(([name, text]) =>
      name.startsWith("ground/")
        ? [...text.matchAll(/from "\.\.\/(\w+)\//g)].map(([, folder]) => `${name}: ${folder}`)
        : [],
    );
    expect(imports.length).toBeGreaterThan(0);
    expect(imports.filter((found) => !found.endsWith(": words"))).toEqual([]);
  });

  test("every file is reached from what is bundled", () => {
    expect(unreached(publicFiles, ["index.html", "docs.html", "page.tsx", "page.css"])).toEqual([]);
  });
});

for (const [folder, files] of Object.entries({ src: sources, public: publicFiles, test: testFiles })) {
  describe(`${folder}/`, () => {
    test("there is no circle of imports", () => {
      expect(circles(files)).toEqual([]);
    });

    test(`no function has more than ${functionLinesMax} lines`, () => {
      expect(tooLong(files)).toEqual([]);
    });

    test("there is no empty catch and no note of work left undone", () => {
      expect(leftovers(files)).toEqual([]);
    });
  });
}

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
      "endpoint/ping/echo.ts": 'import { poll } from "../topics/poll.ts";', // An endpoint never imports another.
    });
    expect(length).toBe(6);
  });

  test("an engine above the seam and in another's room, and not in its own", () => {
    const found = engineImports({
      "endpoint/operations.ts": 'import type { DiskMeter } from "../engine/disk/meter.ts";',
      "engine/disk/broker.ts": 'import { MemoryBroker } from "../memory/broker.ts";',
      "engine/redis/broker.ts": 'import { Link } from "./link.ts";\nimport { Epochs } from "../epochs.ts";',
    });
    expect(found).toEqual([
      "endpoint/operations.ts imports engine/disk/meter.ts",
      "engine/disk/broker.ts imports engine/memory/broker.ts",
    ]);
  });

  test("a file that only another dead file imports", () => {
    const dead = { "index.ts": "", "topic/hub.ts": 'import "./log.ts";', "topic/log.ts": "" };
    expect(unreached(dead, ["index.ts"])).toEqual(["topic/hub.ts", "topic/log.ts"]);
  });

  test("a type whose name another file has, too", () => {
    const files = {
      "a.ts": "export interface Reader {}\ntype Frame = string;",
      "b.ts": "class Reader {\n  type Frame = 1;\n}",
    };
    expect(twice(files)).toEqual(["Reader: a.ts, b.ts"]);
  });

  test("a circle", () => {
    const circle = { "a.ts": 'import "./b.ts"', "b.ts": 'import "./c.ts"', "c.ts": 'import "./a.ts"' };
    expect(circles({ ...circle, "d.ts": 'import "./a.ts"' })).toEqual(["a.ts", "b.ts", "c.ts"]);
  });

  test("a function, a method and a callback that are too long, and not what surrounds them", () => {
    const lines = (count: number): string => "    a();\n".repeat(count);
    const found = tooLong({
      "function.ts": `export async function a(\n  b: string,\n): Promise<void> {\n${lines(69)}}`,
      "method.ts": `class A {\n  static #b(): string {\n${lines(69)}  }\n}`,
      "callback.ts": `test("a", async () => {\n${lines(69)}});`,
      "tests.ts": `describe("a", () => {\n${lines(249)}});`,
      "fine.ts": `class A {\n  b() {\n${lines(68)}  }\n\n  c() {\n${lines(68)}  }\n}`,
      "fine-tests.ts": `function describeA(): void {\n  describe("a", () => {\n${lines(246)}  });\n}`,
    });
    expect(found.map((complaint) => complaint.split(" ")[0])).toEqual([
      "function.ts:3",
      "method.ts:2",
      "callback.ts:1",
      "tests.ts:1",
    ]);
  });

  test("each kind of leftover, and not the words in a comment or a text", () => {
    const found = leftovers({
      "a.ts": "// TO" + "DO: later",
      "b.ts": "/* FIX" + "ME */",
      "c.ts": "try { a(); } catch {}",
      "d.ts": "try { a(); } catch (error) { \n }",
      "e.ts": "a.catch(() => {});",
      "fine.ts": '// catch {}\nconst a = "catch {}";\ntry { a(); } catch (error) { log(error); }',
    });
    expect(found.map((complaint) => complaint.slice(0, 4))).toEqual(
      ["a", "b", "c", "d", "e"].map((name) => `${name}.ts`),
    );
  });
});

function upward(files: Sources): string[] {
  return Object.entries(files).flatMap(([name, source]) =>
    imports(name, source)
      .filter((imported) => folderOf(imported) !== folderOf(name) && layerOf(imported) <= layerOf(name))
      .map((imported) => `${name} imports ${imported}, which is not in its folder nor in a layer below`),
  );
}

/** Imports from the folder of one engine by a file that is not in it. */
function engineImports(files: Sources): string[] {
  return Object.entries(files).flatMap(([name, source]) =>
    imports(name, source)
      .filter((imported) => /^engine\/\w+\//.test(imported) && dirname(imported) !== dirname(name))
      .map((imported) => `${name} imports ${imported}`),
  );
}

function unreached(files: Sources, from: readonly string[]): string[] {
  const reached = new Set(from.flatMap((name) => [name, ...below(name, files)]));
  return Object.keys(files)
    .filter((name) => !reached.has(name))
    .toSorted();
}

/** The names of types at the top of more than one file, with the files. */
function twice(files: Sources): string[] {
  const filesOf = new Map<string, string[]>();
  for (const [name, source] of Object.entries(files))
    for (const [, type = ""] of source.matchAll(
      /^(?:export )?(?:abstract )?(?:class|interface|type|enum) ([A-Z]\w*)/gm,
    ))
      filesOf.set(type, [...(filesOf.get(type) ?? []), name]);
  return [...filesOf]
    .filter(([, names]) => names.length > 1)
    .map(([type, names]) => `${type}: ${names.join(", ")}`);
}

function circles(files: Sources): string[] {
  return Object.keys(files).filter((name) => below(name, files).has(name));
}

/** Every file that a file imports, directly or through others. */
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

/** The files that a page or a style sheet links to. */
function links(source: string): string[] {
  const found = source.matchAll(/(?:href|src)="(?:\.?\/)?([^":#]+)"|url\("?(?:\.?\/)?([^":)]+)"?\)/g);
  return [...found].map(([, attribute, url]) => attribute ?? url ?? "");
}

/** Relies on the formatter: a function ends on the next line with the indentation of its first one. */
function tooLong(files: Sources): string[] {
  return Object.entries(files).flatMap(([name, source]) => {
    const lines = source.split("\n");
    return lines.flatMap((line, start) => {
      const isFunction = /(?:=>|\)(?:: .+)?) \{$/.test(line);
      if (!isFunction || /^\s*(?:\} )?(?:if|for|while|switch|else|catch|class)\b/.test(line)) return [];
      const indentation = /^\s*/.exec(line)?.[0];
      const end = lines.findIndex((other, index) => index > start && other.startsWith(`${indentation}}`));
      const max = /\bdescribe[\w.]*[(<]/.test(line) ? describeLinesMax : functionLinesMax;
      const count = end - start + 1;
      return count > max ? [`${name}:${start + 1} has ${count} lines: ${line.trim()}`] : [];
    });
  });
}

/** Each endpoint is a folder or file of its own. */
function folderOf(name: string): string {
  if (name.startsWith("endpoint/")) return name.split("/", 2).join("/");
  return name.startsWith("engine/") ? "engine" : dirname(name);
}

function leftovers(files: Sources): string[] {
  return Object.entries(files).flatMap(([name, source]) => {
    const code = withoutText(source);
    return [
      /\b(?:TO[D]O|FIX[M]E|XX[X]|HAC[K])\b/.test(source) && "has a note of work left undone",
      /\bcatch\s*(?:\([^)]*\)\s*)?\{\s*\}|\.catch\(\s*\([^)]*\)\s*=>\s*\{\s*\}\s*\)/.test(code) &&
        "catches a failure and lets it vanish",
    ]
      .filter((complaint) => complaint !== false)
      .map((complaint) => `${name} ${complaint}`);
  });
}

/** The code without comments and without the contents of quoted texts. */
function withoutText(source: string): string {
  return source.replaceAll(/\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|\/\/[^\n]*/g, (text) =>
    text.startsWith('"') ? '""' : "",
  );
}

const filesWith = (pattern: RegExp): string[] =>
  Object.keys(sources).filter((name) => pattern.test(sources[name] ?? ""));
