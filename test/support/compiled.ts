/**
 * The server as users download it, compiled once and kept until a source changes. Its start takes half the CPU time of a start
 * from source, and the tests start hundreds of servers.
 */
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");
const cache = resolve(root, "node_modules/.cache/longwire");
/** No run of the tests lasts so long, so no process still starts the binary. */
const unusedMinutes = 60;
let compiling: Promise<string> | undefined;

/** Bun reads and writes its own 107 MB, in half the CPU time with large pages. */
export const forCompile = { MIMALLOC_ALLOW_THP: "1" };

/** @returns the path of the binary */
export function compiledServer(): Promise<string> {
  compiling ??= compileUnlessThere();
  return compiling;
}

async function compileUnlessThere(): Promise<string> {
  const folder = join(cache, await sourcesKey());
  const binary = join(folder, "longwire");
  if (existsSync(binary)) return binary;
  await mkdir(cache, { recursive: true });
  await removeUnused();
  const unfinished = await mkdtemp(`${folder}.`);
  await compile(join(unfinished, "longwire"));
  try {
    await rename(unfinished, folder); // Another process sees a whole folder or none.
  } catch (error) {
    if (!existsSync(binary)) throw error;
    await rm(unfinished, { recursive: true }); // Another process was first with the same sources.
  }
  return binary;
}

async function compile(outfile: string): Promise<void> {
  const command = [process.execPath, "run", "src/build.ts", "--sourcemap", "--outfile", outfile];
  const env = { ...process.env, ...forCompile };
  const build = Bun.spawn(command, { cwd: root, env, stdio: ["ignore", "ignore", "pipe"] });
  const errors = await new Response(build.stderr).text();
  if ((await build.exited) !== 0) throw new Error(`the server could not be compiled:\n${errors}`);
}

/** Changes with every file that goes into the binary, as `make` sees it. */
async function sourcesKey(): Promise<string> {
  // Bun.Glob finds nothing by a pattern whose braces hold both folders and files.
  const files = ["{src,public}/**", "docs/*", "{package,tsconfig}.json", "bun.lock"]
    .flatMap((pattern) => [...new Bun.Glob(pattern).scanSync({ cwd: root })])
    .toSorted();
  // Else every change would be tested by an old binary.
  for (const file of ["src/index.ts", "public/page.tsx", "docs/protocol.md", "package.json", "bun.lock"])
    if (!files.includes(file)) throw new Error(`the compiled server does not follow ${file}`);
  const versions = files.map(async (file) => {
    const { size, mtimeMs } = await stat(join(root, file));
    return `${file} ${size} ${mtimeMs}`;
  });
  return Bun.hash([Bun.version_with_sha, ...(await Promise.all(versions))].join("\n")).toString(36);
}

async function removeUnused(): Promise<void> {
  for (const name of await readdir(cache)) {
    const { mtimeMs } = await stat(join(cache, name));
    if (Date.now() - mtimeMs > unusedMinutes * 60_000) await rm(join(cache, name), { recursive: true });
  }
}
