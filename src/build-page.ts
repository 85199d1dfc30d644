/** Writes the page and the client into dist/page, for the package: `bun pm pack` runs it (`prepack`). */
import { rm } from "node:fs/promises";
import { bundlePage } from "./endpoint/page.ts";

await rm("dist/page", { recursive: true, force: true }); // The package has every file of the folder.
for (const [name, text] of Object.entries(await bundlePage())) await Bun.write(`dist/page/${name}`, text);
