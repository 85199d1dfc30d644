/** The programs and commands of the READMEs work as printed. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { openWs } from "../support/clients.ts";
import { root } from "../support/server.ts";
import { quote } from "../support/shell.ts";
import { lacks } from "../support/tool.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const pages = ["README.md", "README.zh-CN.md"];
// Within the package, where its own name resolves to it, and where git and the linter do not look.
const folder = await mkdtemp(join(root, "node_modules/.readme-"));
afterAll(() => rm(folder, { recursive: true }));

for (const page of pages) {
  const text = await Bun.file(resolve(root, page)).text();

  describe(page, () => {
    const programs = blocks(text, "ts");

    test("shows the demo, a mount, and a program that subscribes, each in a dozen lines at most", () => {
      expect(programs).toHaveLength(3);
      for (const program of programs) {
        expect(
          program
            .trim()
            .split("\n")
            .filter((line) => line !== "").length,
        ).toBeLessThanOrEqual(12);
      }
    });

    test("its program 3 receives what it published", async () => {
      const file = join(folder, `${page}-subscriber.ts`);
      await writeFile(file, programs[2] ?? "");
      const running = Bun.spawn([process.execPath, file], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "inherit",
      });
      const printed = await within(new Response(running.stdout).text(), "the program's end");
      expect(printed).toMatch(/^[0-9a-z]+-1 \{"hello":"world"\}\n$/);
      expect(await running.exited).toBe(0);
    });

    for (const [index, program] of programs.slice(0, 2).entries()) {
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

    test.skipIf(lacks("curl"))("guards a server by commands that run as they stand there", async () => {
      const section = text.split(/^## /m).find((part) => part.includes("--api-key-file api.key")) ?? "";
      const [start = "", use = ""] = blocks(section, "sh");
      const work = await mkdtemp(join(folder, "guard-"));
      const entrance = `${quote(process.execPath)} run ${quote(resolve(root, "src/index.ts"))}`;
      const shell = (commands: string) => {
        const script = commands.replaceAll("bun run src/index.ts", entrance);
        return Bun.spawn(["bash", "-euo", "pipefail", "-c", script], {
          cwd: work,
          stdout: "pipe",
          stderr: "pipe",
        });
      };
      // In the place of the shell, so that to end the one is to end the other.
      const server = shell(start.replace("bun run src/index.ts", "exec bun run src/index.ts --port 0"));
      try {
        const { value } = await within(server.stdout.getReader().read(), "the server's first line");
        const [url = ""] = /http:\/\/localhost:\d+/.exec(new TextDecoder().decode(value)) ?? [];
        const client = shell(use.replaceAll("http://localhost:9090", url));
        const printed = await within(new Response(client.stdout).text(), "the end of the commands");
        expect(printed).toMatch(
          /^\{"published":\[\{"topic":"news\/today",.+\}\{"published":\[\{"topic":"chat\/room",.+"from a backend"/,
        );
        expect(await client.exited).toBe(0);
      } finally {
        server.kill("SIGKILL");
      }
    });

    test("names only files and scripts that are there", async () => {
      const { scripts } = await Bun.file(resolve(root, "package.json")).json();
      for (const [, script] of text.matchAll(/bun(?:@1\.4\.5)? run ([a-z]+)(?![\w./])/g)) {
        expect(Object.keys(scripts)).toContain(String(script));
      }
      for (const [, link] of text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
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
