/** `bun run declarations`: writes types/longwire.d.ts and types/client.d.ts, the types of the library and of its client. */
import { resolve } from "node:path";
import { generateDtsBundle } from "dts-bundle-generator";
import { root } from "../support/server.ts";

/** The sources of what the package exports, by the file of their types. */
export const declarationFiles = {
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
export function generateDeclarations(): Record<string, string> {
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
    Object.entries(declarationFiles).map(([file, source], index) => [file, header(source) + texts[index]]),
  );
}

if (import.meta.main)
  for (const [file, text] of Object.entries(generateDeclarations()))
    await Bun.write(resolve(root, file), text);
