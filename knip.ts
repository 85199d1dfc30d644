/** Configures `bun run unused`: it reports files, exports and dependencies that nothing uses. */
import type { KnipConfig } from "knip";

/**
 * With `--production` the tests are left out, so that it reports code that only tests use. A test may import an export that
 * its own module uses too.
 */
export default ({ production = false }: { readonly production?: boolean }): KnipConfig => ({
  entry: [
    "public/page.tsx!",
    "src/{index,build,build-page}.ts!",
    "test/{architecture,bench,chaos,fuzz,model,screenshots,soak}/index.ts",
    "test/**/*.test.ts",
    "test/fuzz/{resume,slow-readers}.ts",
    "test/bench/peers/*.{ts,mjs}",
    "test/power/{judge,relaxed-worker,writer}.ts", // Programs that the tests of power cuts start.
    "test/support/{application,bursting-program,busy,chromium-keeper,disk-worker,faults,lossy-engine,two-handlers}.ts", // Programs that tests start.
  ],
  project: ["src/**!", "public/**/*.{ts,tsx}!", "test/**"],
  ignoreDependencies: ["ws", "@types/ws"], // Bun has a `ws` of its own, so both look unused to knip.
  ignoreExportsUsedInFile: production,
});
