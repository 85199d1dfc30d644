/** What the READMEs tell people to write works as it stands there. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { openWs } from "./support/clients.ts";
import { root } from "./support/server.ts";
import { within } from "./support/wait.ts";

setDefaultTimeout(20_000);

const pages = ["README.md", "README.zh-CN.md"];
// Within the package, where its own name resolves to it, and where git and the linter do not look.
const folder = await mkdtemp(join(root, "node_modules/.readme-"));
afterAll(() => rm(folder, { recursive: true }));

for (const page of pages) {
  const text = await Bun.file(resolve(root, page)).text();

  describe(page, () => {
    const programs = blocks(text, "ts");

    test("shows the demo and a mount, each in a dozen lines at most", () => {
      expect(programs).toHaveLength(2);
      for (const program of programs) {
        expect(
          program
            .trim()
            .split("\n")
            .filter((line) => line !== "").length,
        ).toBeLessThanOrEqual(12);
      }
    });

    for (const [index, program] of programs.entries()) {
      test(`its program ${index + 1} serves the line`, async () => {
        const file = join(folder, `${page}-${index}.ts`);
        await writeFile(file, program.replace("9090", "0"));
        const running = Bun.spawn([process.execPath, file], {
          stdin: "ignore",
          stdout: "pipe",
          stderr: "inherit",
        });
        try {
          const { value } = await within(running.stdout.getReader().read(), "the program's first line");
          const url = new URL(new TextDecoder().decode(value).trim());
          using client = await openWs(`ws://${url.host}/ping`);
          client.send("ping");
          expect(await client.next()).toBe("pong");
          expect((await fetch(new URL("/", `http://${url.host}`))).status).toBe(200);
        } finally {
          running.kill("SIGKILL");
        }
      });
    }

    test("names only files and scripts that are there", async () => {
      const { scripts } = await Bun.file(resolve(root, "package.json")).json();
      for (const [, script] of text.matchAll(/bun(?:@1\.4\.5)? run ([a-z]+)(?![\w./])/g)) {
        expect(Object.keys(scripts)).toContain(String(script));
      }
      for (const [, link] of text.matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
        const found = await Array.fromAsync(new Bun.Glob(String(link)).scan({ cwd: root, onlyFiles: false }));
        expect(`${link} ${found.length}`).toBe(`${link} 1`);
      }
    });
  });
}

test("both languages have the same parts, the same programs, and the same commands", async () => {
  const [english = "", chinese = ""] = await Promise.all(
    pages.map((page) => Bun.file(resolve(root, page)).text()),
  );
  const shape = (text: string) =>
    [...text.matchAll(/^(#+ |```\w+|!\[|\| `--[a-z-]+` )/gm)].map(([match]) => match);
  expect(shape(chinese)).toEqual(shape(english));
  for (const language of ["sh", "js", "console"])
    expect(blocks(chinese, language)).toEqual(blocks(english, language));
  const commands = (text: string) =>
    [...text.matchAll(/`((?:bun|npx) [^`]+)`/g)].map(([, command]) => command);
  expect(commands(chinese)).toEqual(commands(english));
});

function blocks(text: string, language: string): string[] {
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter(([, of]) => of === language)
    .map(([, , block]) => block ?? "");
}
