/** Writes the page and the client into dist/page, for the package: `bun pm pack` runs it (`prepack`). */
import { bundlePage } from "./endpoint/page.ts";

for (const [name, text] of Object.entries(await bundlePage())) await Bun.write(`dist/page/${name}`, text);
