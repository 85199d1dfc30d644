/**
 * Compiles the server into one file with the page inside: `bun run build`.
 *   --outfile dist/longwire          where to write it
 *   --target bun-linux-arm64         for another platform
 *   --sourcemap                      errors name the lines of the sources
 */
import { parseArgs } from "node:util";
import { bundlePage } from "./endpoint/page.ts";

const { values } = parseArgs({
  options: {
    outfile: { type: "string", default: "dist/longwire" },
    target: { type: "string" },
    sourcemap: { type: "boolean", default: false },
    "compile-executable-path": { type: "string" },
  },
});
const { outfile, target, sourcemap, "compile-executable-path": executablePath } = values;

const { outputs } = await Bun.build({
  entrypoints: ["src/index.ts", "src/engine/disk/worker.ts"],
  minify: true,
  sourcemap: sourcemap ? "inline" : "none",
  // Together they halve the CPU time until the server answers. Bytecode would otherwise be CommonJS, without top-level await.
  bytecode: true,
  format: "esm",
  splitting: true, // What only some commands need, such as `longwire check`, is read with them.
  // The bundler does not run in a compiled binary, so the page is bundled here and takes the place of this expression.
  define: { "globalThis.embeddedPage": JSON.stringify(await bundlePage()) },
  compile: {
    outfile,
    // A file in the folder where the binary is started must not change what it does.
    autoloadDotenv: false,
    autoloadBunfig: false,
    ...(target ? { target: target as Bun.Build.CompileTarget } : {}),
    ...(executablePath ? { executablePath } : {}),
  },
});
console.log(outputs[0]?.path ?? outfile);
