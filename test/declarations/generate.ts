/** `bun run declarations`: writes types/longwire.d.ts, the types of the library in one file. */
import { resolve } from "node:path";
import { generateDtsBundle } from "dts-bundle-generator";
import { root } from "../support/server.ts";

export const declarationsFile = resolve(root, "types/longwire.d.ts");

const header = `/**
 * The types of the library. Generated from src/longwire.ts by \`bun run declarations\`: do not edit.
 *
 * TypeScript cannot check a package that exports its .ts files: it would report errors of other compiler options there.
 */
`;

export function generateDeclarations(): string {
  const [declarations = ""] = generateDtsBundle(
    [
      {
        filePath: resolve(root, "src/longwire.ts"),
        output: { noBanner: true, exportReferencedTypes: false, sortNodes: false },
      },
    ],
    { preferredConfigPath: resolve(root, "tsconfig.json") },
  );
  return header + declarations;
}

if (import.meta.main) await Bun.write(declarationsFile, generateDeclarations());
