/**
 * `bun run declarations`: writes types/longwire.d.ts and types/client.d.ts, the types of the library and of its client, below
 * this folder or below the one that is given.
 */
import { resolve } from "node:path";
import { generateDtsBundle } from "dts-bundle-generator";
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

/** @returns the text of each file of types */
function generateDeclarations(): Record<string, string> {
  const sources = Object.values(declarationFiles);
  // One call for all of them, because each compiles the whole program.
  const texts = generateDtsBundle(
    sources.map((source) => ({
      filePath: resolve(root, source),
      output: { noBanner: true, exportReferencedTypes: false, sortNodes: false },
    })),
    { preferredConfigPath: resolve(import.meta.dir, "tsconfig.json") },
  );
  return Object.fromEntries(
    Object.entries(declarationFiles).map(([file, source], index) => [
      file,
      header(source) + forPrograms(texts[index] ?? ""),
    ]),
  );
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

for (const [file, text] of Object.entries(generateDeclarations()))
  await Bun.write(resolve(process.argv[2] ?? root, file), text);
