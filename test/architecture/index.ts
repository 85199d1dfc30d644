/** `bun run picture`: draws docs/architecture.svg from the imports of src/. */
import { resolve } from "node:path";
import { root } from "../support/server.ts";
import { drawStructure } from "./picture.ts";
import { readSources } from "./structure.ts";

await Bun.write(
  resolve(root, "docs/architecture.svg"),
  drawStructure(await readSources("src", "**/*.ts", ["text.d.ts"])),
);
