/**
 * `bun run declarations`: writes types/longwire.d.ts and types/client.d.ts, the types of the library and of its client, below
 * this folder or below the one that is given.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { generateDtsBundle } from "dts-bundle-generator";
import ts from "typescript";
import { root } from "../support/server.ts";

/** The sources of what the package exports, by the file of their types. */
const declarationFiles = {
  "types/longwire.d.ts": "src/longwire.ts",
  "types/client.d.ts": "src/client/client.ts",
} as const;

const header = (source: string): string => `/**
 * Generated from ${source} by \`bun run declarations\`: do not edit.
 *
 * TypeScript cannot check a package that exports its .ts files: it would report errors of other compiler options there.
 */
`;

/** Where only names are known of packages, of Bun and of the DOM: most of the compiler's time goes into their types. */
const configFile = resolve(import.meta.dir, "tsconfig.json");

/** @returns the text of each file of types */
async function generateDeclarations(): Promise<Record<string, string>> {
  const folder = await mkdtemp(join(tmpdir(), "longwire-declarations-"));
  try {
    const sources = Object.values(declarationFiles);
    for (const [file, text] of declarationsOf(sources)) await Bun.write(join(folder, file), text);
    // One call for all of them, because each compiles the whole program.
    const texts = generateDtsBundle(
      sources.map((source) => ({
        filePath: join(folder, source.replace(/ts$/, "d.ts")),
        output: { noBanner: true, exportReferencedTypes: false, sortNodes: false },
      })),
      { preferredConfigPath: configFile },
    );
    return Object.fromEntries(
      Object.entries(declarationFiles).map(([file, source], index) => [
        file,
        header(source) + checked(forPrograms(texts[index] ?? "")),
      ]),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The declarations of the sources and of those modules that declarations refer to, a fifth of all, by file. */
function declarationsOf(sources: readonly string[]): Map<string, string> {
  const { config } = ts.readConfigFile(configFile, ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, dirname(configFile));
  Object.assign(options, { noEmit: false, declaration: true, emitDeclarationOnly: true });
  const files = sources.map((source) => resolve(root, source));
  const program = ts.createProgram(files, options);
  const declarations = new Map<string, string>();
  // A set can grow while it is read.
  const wanted = new Set(files);
  for (const file of wanted) {
    const write: ts.WriteFileCallback = (name, text) => {
      declarations.set(relative(root, name), text);
      for (const { fileName } of ts.preProcessFile(text).importedFiles)
        if (fileName.startsWith(".")) wanted.add(resolve(dirname(file), fileName));
    };
    const { diagnostics } = program.emit(program.getSourceFile(file), write, undefined, true);
    if (diagnostics.length > 0)
      throw new Error(ts.formatDiagnostics(diagnostics, ts.createCompilerHost(options)));
  }
  return declarations;
}

/** @throws where a type was inferred from one that is not known here, or could be taken for a global one */
function checked(text: string): string {
  const code = text.replaceAll(docstring, "");
  const names = [...code.matchAll(/\b(?:interface|type|class|const|function) ([\w$]+)/g)].map(
    ([, name = ""]) => name,
  );
  const wrong = [...(/\bany\b/.exec(code) ?? []), ...names.filter((name) => name in globalThis)];
  if (wrong.length > 0)
    throw new Error(`The types have ${wrong.join(", ")}: write the type out, or rename it.`);
  return text;
}

/**
 * Leaves a setting the type that a program gives, and not what the server makes of it:
 * `readonly redisUrl: Setting<RedisServer | undefined, string>` becomes `readonly redisUrl: string`.
 */
function forPrograms(text: string): string {
  return withoutUnused(
    text
      .replaceAll(/: Setting<.+, ([^,]+)>;$/gm, ": $1;")
      .replaceAll(/^declare const (\w+Settings): (\{\n[\s\S]*?^\});$/gm, "interface $1 $2")
      .replaceAll(/\bGivenValues<typeof (\w+)>/g, "$1")
      .replaceAll(/\b[hs](?=(?:andler|erver)Settings\b)/g, (letter) => letter.toUpperCase()),
  );
}

const docstring = /\/\*\*[\s\S]*?\*\//g;

/** A declaration that is not exported, with its docstring. */
const internal =
  /^(?:\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n)?(?:import \{ |interface |type |declare class )([\w$]+).*(?:;|\{\n[\s\S]*?^\};?)\n/gm;

/** Removes what is not exported and what nothing but its own declaration and docstrings name, until all that is left is named. */
function withoutUnused(text: string): string {
  const shorter = text.replaceAll(internal, (declaration, name: string) => {
    const isNamed = new RegExp(`(?<![\\w$])${RegExp.escape(name)}(?![\\w$])`);
    return isNamed.test(text.replace(declaration, "").replaceAll(docstring, "")) ? declaration : "";
  });
  return shorter === text ? text : withoutUnused(shorter);
}

for (const [file, text] of Object.entries(await generateDeclarations()))
  await Bun.write(resolve(process.argv[2] ?? root, file), text);
