/** Builds a Go peer with Debian's packages: they need no network and stay at one version. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { debianVersion } from "./debian-version.ts";
import type { Preparation } from "./peer.ts";

const sources = "/usr/share/gocode";

/** Import paths, and the Debian packages that hold them. */
const packages: Readonly<Record<string, string>> = {
  "github.com/gin-gonic/gin": "golang-github-gin-gonic-gin-dev",
  "github.com/gorilla/websocket": "golang-github-gorilla-websocket-dev",
};

/** @param directory in peers/ */
export async function goProgram(directory: string, imports: readonly string[]): Promise<Preparation> {
  if (Bun.which("go") === null) return { missing: "Go is not installed (Debian: golang-go)" };
  for (const path of imports) {
    if (!existsSync(join(sources, "src", path))) {
      return { missing: `${path} is not in ${sources} (Debian: ${packages[path] ?? "unknown"})` };
    }
  }
  const built = mkdtempSync(join(tmpdir(), "longwire-bench-"));
  process.on("exit", () => rmSync(built, { recursive: true, force: true }));
  const binary = join(built, directory);
  const build = Bun.spawn(["go", "build", "-o", binary, "."], {
    cwd: join(import.meta.dir, "peers", directory),
    env: { ...process.env, GO111MODULE: "off", GOPATH: sources },
    stderr: "pipe",
  });
  if ((await build.exited) !== 0) return { missing: `go build: ${await new Response(build.stderr).text()}` };
  const version = Bun.spawnSync(["go", "env", "GOVERSION"]).stdout.toString().trim();
  return {
    command: [binary],
    version: [version, ...imports.map(packageVersion)].join(", "),
    environment: { GIN_MODE: "release" },
  };
}

function packageVersion(path: string): string {
  return `${path.split("/").slice(-2).join("/")} ${debianVersion(packages[path] ?? path)}`;
}
