/** Longwire as others install it: the package with Bun, and with Node and npm alone; its types, and the examples in them. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import packageJson from "../../package.json";
import { bundlePage } from "../../src/endpoint/page.ts";
import { settings } from "../../src/settings/config.ts";
import { type Ended, root, runCommand, spawnServer } from "../support/server.ts";
import { commandOf, lacks } from "../support/tool.ts";
import { publish } from "../support/topics.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(300_000);

const bun = process.execPath;
const archive = `longwire-${packageJson.version}.tgz`;

/** @returns the text of each file of types below the folder, by its path */
async function typesBelow(folder: string): Promise<Record<string, string>> {
  const files = [...new Bun.Glob("types/*").scanSync({ cwd: folder })].toSorted();
  const texts = files.map(async (file) => [file, await Bun.file(join(folder, file)).text()] as const);
  return Object.fromEntries(await Promise.all(texts));
}

const written = await typesBelow(root);
const declarations = Object.values(written).join("\n");

/** The code blocks of the docstrings. */
const examples = [...declarations.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, block = ""]) =>
  block.replaceAll(/^\s*\* ?/gm, ""),
);

let folder: string;
let project: string;

/** TypeScript's compiler ends before what JavaScriptCore optimizes for it saves the CPU time of optimizing it. */
const forCompiler = { BUN_JSC_useDFGJIT: "0" };

async function run(
  command: readonly string[],
  directory = project,
  environment: Record<string, string> = {},
): Promise<string> {
  const { exitCode, output, errors } = await runCommand(command.slice(1), {
    command: command.slice(0, 1),
    directory,
    environment,
    seconds: 290,
  });
  if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}:\n${output}${errors}`);
  return output;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "longwire-package-"));
  project = join(folder, "project");
  await run([bun, "pm", "pack", "--destination", folder], root);
  await mkdir(project);
  const devDependencies = { "@types/bun": packageJson.devDependencies["@types/bun"] };
  await Bun.write(
    join(project, "package.json"),
    JSON.stringify({ private: true, type: "module", devDependencies }),
  );
  await run([bun, "add", `../${archive}`]);
  for (const [index, text] of Object.values(written).entries())
    await Bun.write(join(project, "declarations", `${index}.ts`), text);
  for (const [index, example] of examples.entries())
    await Bun.write(join(project, `example-${index}.ts`), `${example}\nexport {};\n`);
  // It is itself an error where none is found, as when every type were `any`.
  await Bun.write(
    join(project, "wrong.ts"),
    'import { createServer } from "longwire";\nawait createServer({\n// @ts-expect-error\nport: "a" });\n',
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("the types are what `bun run declarations` writes now", async () => {
  const fresh = join(folder, "fresh");
  await run([bun, "run", "declarations", fresh], root, forCompiler);
  expect(Bun.deepEquals(written, await typesBelow(fresh)), "run: bun run declarations").toBe(true);
});

test("the package has the command, the sources, the built page, the protocol with its descriptions and the types, and nothing else", async () => {
  const packed = (await run(["tar", "-tzf", archive], folder)).trim().split("\n");
  const expected = [
    "{bin,src,types}/**",
    "dist/page/*",
    "docs/protocol.md",
    "docs/*api.json",
    "README*",
    "LICENSE",
  ].flatMap((files) => [...new Bun.Glob(files).scanSync({ cwd: root })]);
  const names = packed.map((name) => name.replace(/^package\//, ""));
  expect(names.toSorted()).toEqual(["package.json", ...expected].toSorted());
  expect(names.filter((name) => name.startsWith("dist/page/"))).toHaveLength(6);
  expect(Bun.file(join(folder, archive)).size).toBeLessThanOrEqual(480_000);
});

describe("every setting", () => {
  for (const [name, { unit, default: value }] of Object.entries(settings)) {
    test(`${name} has a docstring with its default`, () => {
      const [, docstring = ""] =
        new RegExp(`/\\*\\*((?:(?!\\*/)[\\s\\S])*?)\\*/\\s*readonly ${name}: `).exec(declarations) ?? [];
      const text = docstring.replaceAll(/\s*\n\s*\* ?/g, " ");
      expect(text).toMatch(/^ ?[A-Z].{20,}\./);
      const shown = unit.show(value as never);
      // `10m` is written "10 min" there, `64MiB` "64 MiB", nothing "none".
      const [, number, suffix = ""] = /^(\d+)([A-Za-z]*)$/.exec(shown) ?? [];
      const written =
        shown === ""
          ? "none"
          : number === undefined
            ? shown
            : `${number} ${{ m: "min", d: "day" }[suffix] ?? suffix}`.trim();
      expect(text.replaceAll("`", "")).toContain(`Default ${written}`);
    });
  }
});

describe("a project that installed the package", () => {
  const resolutions = {
    bundler: { module: "Preserve", moduleResolution: "bundler" },
    NodeNext: { module: "NodeNext", moduleResolution: "NodeNext" },
  };
  const optionsWith = (resolution: object) => ({
    ...resolution,
    ...{ target: "ESNext", lib: ["ESNext"], types: ["bun"], strict: true, noEmit: true },
    ...{ skipLibCheck: false, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
  });

  test(`is checked by tsc with moduleResolution ${Object.keys(resolutions).join(" and ")}`, async () => {
    const files = Object.keys(resolutions).map((name) => `tsc.tsconfig.${name}.json`);
    const include = ["*.ts", "declarations/*.ts"];
    for (const [index, resolution] of Object.values(resolutions).entries()) {
      // tsc takes ten seconds for the types of Bun and of the language, so it checks only ours, as sources.
      const compilerOptions = { ...optionsWith(resolution), skipLibCheck: true };
      await Bun.write(join(project, files[index] ?? ""), JSON.stringify({ compilerOptions, include }));
    }
    const tsc = resolve(root, "node_modules/typescript/bin/tsc");
    await run([bun, tsc, "--build", ...files], project, forCompiler); // One process reads the types of Bun once.
  });

  for (const [name, resolution] of Object.entries(resolutions)) {
    const file = `tsconfig.${name}.json`;

    test(`is checked by bun check with moduleResolution ${name}`, async () => {
      const compilerOptions = optionsWith(resolution);
      await Bun.write(join(project, file), JSON.stringify({ compilerOptions, include: ["*.ts"] }));
      await run([bun, "check", "-p", file]);
    });
  }

  test("runs every example of the docstrings to its end", async () => {
    expect(examples.length).toBeGreaterThanOrEqual(6);
    // In one process, one after the other: it ends when nothing of any example is left.
    const imports = examples.map((_, index) => `await import("./example-${index}.ts");`);
    await Bun.write(join(project, "examples.js"), [...imports, 'console.log("all have run");'].join("\n"));
    expect(await run([bun, "examples.js"])).toEndWith("all have run\n");
  });
});

describe.skipIf(lacks("npm and its registry", "Node 20.10"))("a project of Node, without Bun on PATH", () => {
  /** Where PATH leads: folders with Node alone, with npm too, and with Bun too. */
  const paths = { node: "", npm: "", bun: "" };
  let nodeProject: string;

  beforeAll(async () => {
    const commands = {
      node: commandOf("Node 20.10"),
      npm: commandOf("npm and its registry"),
      sh: "/bin/sh",
      bun,
    };
    for (const [name, links] of Object.entries({
      node: ["node"],
      npm: ["node", "npm", "sh"],
      bun: ["node", "bun"],
    } as const)) {
      const path = join(folder, `path-${name}`);
      await mkdir(path);
      for (const link of links) await symlink(commands[link], join(path, link));
      paths[name as keyof typeof paths] = path;
    }
    nodeProject = join(folder, "node-project");
    await mkdir(nodeProject);
    await Bun.write(join(nodeProject, "package.json"), '{ "private": true, "type": "module" }\n');
    const flags = ["--prefer-offline", "--no-audit", "--no-fund"];
    const installed = await runInNode(["npm", "install", ...flags, `../${archive}`], paths.npm);
    if (installed.exitCode !== 0) throw new Error(installed.errors);
  });

  const options = (PATH: string) => ({ directory: nodeProject, environment: { PATH }, seconds: 200 });
  const longwire = () => join(nodeProject, "node_modules/.bin/longwire");
  const runInNode = ([command = "", ...words]: readonly string[], PATH: string): Promise<Ended> =>
    runCommand(words, { ...options(PATH), command: [command === "npm" ? join(PATH, command) : command] });

  test("has four packages", async () => {
    const names = new Bun.Glob("*").scanSync({ cwd: join(nodeProject, "node_modules"), onlyFiles: false });
    expect([...names].toSorted()).toEqual(["@redis", "ipaddr.js", "jose", "longwire"]);
  });

  test("serves by the command, with the Bun that npm provides, and ends whole on SIGTERM", async () => {
    await using server = await spawnServer([], { ...options(paths.npm), command: [longwire()] });
    const { pid } = await server.logged("listening");
    try {
      const page = await bundlePage();
      for (const [name, text] of Object.entries(page)) {
        const isHtml = name.endsWith(".html");
        const path = name.replace("index.html", "").replace("docs.html", "docs");
        const answer = await fetch(new URL(path, server.url), { headers: { Accept: "text/html" } });
        // The server writes its own address into HTML.
        const expected = isHtml ? expect.stringContaining(text.slice(0, 100)) : text;
        expect([name, await answer.text()]).toEqual([name, expected]);
      }
      server.process.kill("SIGTERM");
      expect(await within(server.process.exited, "the end of the command")).toBe(0);
      expect(existsSync(`/proc/${pid}`)).toBe(false);
      const errors = await server.errors;
      expect(errors).toStartWith(
        "longwire: this needs Bun 1.4.5 or newer, which is not on PATH. npm is asked",
      );
      expect(errors).toContain('"msg":"stopped"');
    } finally {
      if (existsSync(`/proc/${pid}`)) process.kill(Number(pid), "SIGKILL");
    }
  });

  test("finds the Bun on PATH without npm, and gives its exit code", async () => {
    expect(await runInNode([longwire(), "--version"], paths.bun)).toEqual({
      exitCode: 0,
      output: `${packageJson.version}\n`,
      errors: "",
    });
    const wrong = await runInNode([longwire(), "--prot", "1"], paths.bun);
    expect(wrong).toMatchObject({ exitCode: 2, errors: expect.stringContaining("--port") });
  });

  test("is told what is missing where there is neither Bun nor npm", async () => {
    const { exitCode, errors } = await runInNode([longwire()], paths.node);
    expect([exitCode, errors.trim().split("\n").at(-1)]).toEqual([
      1,
      "longwire: npm is not there either. Install Bun from https://bun.sh.",
    ]);
  });

  test("receives a message by `longwire/client`", async () => {
    await using server = await spawnServer();
    const id = await publish(server, "news", "hello");
    const program = `import { follow } from "longwire/client";
const following = follow("${server.url}topics/news?since=all", {
  onMessage({ id, data }) { console.log(id, data); following.stop(); },
});`;
    await Bun.write(join(nodeProject, "client.js"), program);
    // Node 22 and newer have a WebSocket without the flag.
    const words = ["--experimental-websocket", "client.js"];
    const ended = await runInNode([join(paths.node, "node"), ...words], paths.node);
    expect(ended).toMatchObject({ exitCode: 0, output: `${id} hello\n` });
  });

  test("runs a program of the library, with its page", async () => {
    const program = `import { createServer } from "longwire";
await using server = await createServer({ port: 0, logLevel: "warn" });
console.log((await (await fetch(new URL("client.js", server.url))).text()).includes("export{"));`;
    await Bun.write(join(nodeProject, "library.ts"), program);
    expect(await runInNode([bun, "library.ts"], paths.node)).toEqual({
      exitCode: 0,
      output: "true\n",
      errors: "",
    });
  });
});
