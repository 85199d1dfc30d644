/** Longwire as a TypeScript program installs it: the package, its types in one file, and the examples in them. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import packageJson from "../../package.json";
import { settings } from "../../src/settings/config.ts";
import { root, runCommand } from "../support/server.ts";
import { declarationFiles, generateDeclarations } from "./generate.ts";

setDefaultTimeout(120_000);

const bun = process.execPath;
const written = await Promise.all(
  Object.keys(declarationFiles).map((file) => Bun.file(resolve(root, file)).text()),
);
const declarations = written.join("\n");

/** The code blocks of the docstrings. */
const examples = [...declarations.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, block = ""]) =>
  block.replaceAll(/^\s*\* ?/gm, ""),
);

let folder: string;
let project: string;

async function run(command: readonly string[], directory = project): Promise<string> {
  const { exitCode, output, errors } = await runCommand(command.slice(1), {
    command: command.slice(0, 1),
    directory,
    seconds: 50,
  });
  if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}:\n${output}${errors}`);
  return output;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "longwire-package-"));
  project = join(folder, "project");
  await run([bun, "pm", "pack", "--destination", folder], root);
  await mkdir(project);
  await Bun.write(join(project, "package.json"), '{ "private": true, "type": "module" }\n');
  await run([bun, "add", `../longwire-${packageJson.version}.tgz`]);
  await run([bun, "add", "--dev", "--exact", `@types/bun@${packageJson.devDependencies["@types/bun"]}`]);
  for (const [index, text] of written.entries())
    await Bun.write(join(project, "declarations", `${index}.ts`), text);
  for (const [index, example] of examples.entries())
    await Bun.write(join(project, `example-${index}.ts`), `${example}\nexport {};\n`);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("the types are what `bun run declarations` writes now", () => {
  expect(Bun.deepEquals(written, Object.values(generateDeclarations())), "run: bun run declarations").toBe(
    true,
  );
});

test("the package has the sources, the page, the protocol with its descriptions and the types, and nothing else", async () => {
  const packed = (await run(["tar", "-tzf", `longwire-${packageJson.version}.tgz`], folder))
    .trim()
    .split("\n");
  const expected = [
    "{src,public,types}/**",
    "docs/protocol.md",
    "docs/*api.json",
    "README*",
    "LICENSE",
  ].flatMap((files) => [...new Bun.Glob(files).scanSync({ cwd: root })]);
  const names = packed.map((name) => name.replace(/^package\//, ""));
  expect(names.toSorted()).toEqual(["package.json", ...expected].toSorted());
});

describe("every setting", () => {
  for (const [name, { unit, default: value }] of Object.entries(settings)) {
    test(`${name} has a docstring with its default`, () => {
      const [, docstring = ""] =
        new RegExp(`/\\*\\*((?:(?!\\*/)[\\s\\S])*?)\\*/\\s*readonly ${name}: Setting`).exec(declarations) ??
        [];
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
  const options = {
    bundler: { module: "Preserve", moduleResolution: "bundler" },
    NodeNext: { module: "NodeNext", moduleResolution: "NodeNext" },
  };
  for (const [name, resolution] of Object.entries(options)) {
    const compilerOptions = {
      ...resolution,
      ...{ target: "ESNext", lib: ["ESNext"], types: ["bun"], strict: true, noEmit: true },
      ...{ skipLibCheck: false, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
    };
    const file = `tsconfig.${name}.json`;

    test(`is checked by tsc and by bun check with moduleResolution ${name}`, async () => {
      // tsc takes ten seconds for the types of Bun and of the language, so it checks only ours, as sources.
      const forTsc = { ...compilerOptions, skipLibCheck: true };
      const include = ["*.ts", "declarations/*.ts"];
      await Bun.write(join(project, `tsc.${file}`), JSON.stringify({ compilerOptions: forTsc, include }));
      await run([bun, resolve(root, "node_modules/typescript/bin/tsc"), "-p", `tsc.${file}`]);
      await Bun.write(join(project, file), JSON.stringify({ compilerOptions, include: ["*.ts"] }));
      await run([bun, "check", "-p", file]);
      await Bun.write(
        join(project, "wrong.ts"),
        'import { createHandler } from "longwire"; createHandler({ port: "a" });',
      );
      const wrong = run([bun, "check", "-p", file]);
      await expect(wrong).rejects.toThrow("port");
      await rm(join(project, "wrong.ts"));
    });
  }

  test("runs every example of the docstrings to its end", async () => {
    expect(examples.length).toBeGreaterThanOrEqual(6);
    for (const index of examples.keys()) await run([bun, `example-${index}.ts`]);
  });
});
