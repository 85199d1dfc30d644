/** The READMEs: short, the same in both languages, and every snippet runs as printed, at the address of a test's server. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Browser } from "playwright-core";
import packageJson from "../../package.json";
import { serverHelp } from "../../src/command/help.ts";
import { launchBrowser } from "../support/chromium.ts";
import { openWs } from "../support/clients.ts";
import { compiledServer, forCompile } from "../support/compiled.ts";
import { root } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { lacks } from "../support/tool.ts";
import { inspect, publish } from "../support/topics.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const pages = ["README.md", "README.zh-CN.md"];
const [english = "", chinese = ""] = await Promise.all(
  pages.map((page) => Bun.file(resolve(root, page)).text()),
);

const protocol = await Bun.file(resolve(root, "docs/protocol.md")).text();

const blocks = (text: string, language: string): string[] =>
  [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter(([, of]) => of === language)
    .map(([, , block]) => block ?? "");

/** The only block of the language that has the text. */
function block(language: string, text: string, page = english): string {
  const found = blocks(page, language).filter((block) => block.includes(text));
  if (found.length !== 1) throw new Error(`${found.length} blocks of ${language} have "${text}"`);
  return String(found[0]);
}

describe("both READMEs", () => {
  test.each(pages)("%s has at most 9 KB", (page) => {
    expect(Bun.file(resolve(root, page)).size).toBeLessThanOrEqual(9000);
  });

  test.each(pages)("%s names only files and scripts that are there", async (page) => {
    const text = await Bun.file(resolve(root, page)).text();
    for (const [, script] of text.matchAll(/bun(?:@1\.4\.5)? run ([a-z]+)(?![\w./])/g))
      expect(Object.keys(packageJson.scripts)).toContain(String(script));
    for (const [, link] of text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g))
      expect([link, await Bun.file(resolve(root, String(link))).exists()]).toEqual([link, true]);
    expect(text).toContain(`longwire-${packageJson.version}.tgz`);
  });

  test("name the version that CHANGELOG.md describes", async () => {
    const [, described] = /^## (\d\S+)$/m.exec(await Bun.file(resolve(root, "CHANGELOG.md")).text()) ?? [];
    expect(described).toBe(packageJson.version);
  });

  test("have the same parts, snippets and commands", () => {
    const shape = (text: string) =>
      [...text.matchAll(/^(#+ |```\w+|!\[|- (?:`--[a-z-]+`)?)/gm)].map(([match]) => match);
    expect(shape(chinese)).toEqual(shape(english));
    for (const language of ["sh", "js", "html"])
      expect(blocks(chinese, language)).toEqual(blocks(english, language));
    const bare = (program: string) => program.replaceAll(/ \/\/ .*/g, "");
    expect(blocks(chinese, "ts").map(bare)).toEqual(blocks(english, "ts").map(bare));
    const commands = (text: string) =>
      [...text.matchAll(/`((?:bun|npx|longwire) [^`]+)`/g)].map(([, command]) => command);
    expect(commands(chinese)).toEqual(commands(english));
  });

  test("have ten flags with the defaults and the words of --help", () => {
    const rows = [...english.matchAll(/^- `(--[a-z-]+)`(?: \(`(.+)`\))?: (.+)$/gm)];
    expect(rows).toHaveLength(10);
    const lines = serverHelp().split("\n");
    for (const [, flag, defaultValue, words = ""] of rows) {
      const line = lines.find((line) => line.startsWith(`  ${flag} `));
      const shown = defaultValue === undefined ? "" : ` (${defaultValue})`;
      expect(line?.replace(/^ {2}--\S+ <\S+>\s+/, "")).toBe(`${words.replaceAll("`", "")}${shown}`);
    }
    const defaults = (text: string) =>
      [...text.matchAll(/^- `(--[a-z-]+)`(?:.*[(（]`(.+)`[)）])?/gm)].map(([, ...row]) => row);
    expect(defaults(chinese)).toEqual(defaults(english));
  });

  test("have these lines that no test runs, because they need a network or Docker", () => {
    const lines = blocks(english, "sh").flatMap((block) => block.split("\n"));
    expect(
      lines
        .filter((line) => / # .*needs (?:a network|Docker)$/.test(line))
        .map((line) => line.split(/ +# /)[0]),
    ).toEqual([
      // test/package/package.test.ts does this in steps.
      `npm install ./longwire-${packageJson.version}.tgz && npx longwire`,
      "bun install && bun run src/index.ts",
      "npx -y bun@1.4.5 install && npx -y bun@1.4.5 run src/index.ts",
      "docker build -t longwire . && docker run -p 9090:9090 -e LONGWIRE_INSECURE=1 longwire",
    ]);
  });
});

// Within the package, where its own name resolves to it, and where git and the linter do not look.
const folder = await mkdtemp(join(root, "node_modules/.readme-"));
afterAll(() => rm(folder, { recursive: true }));

/** Starts commands of the README in a shell, where `longwire` and `bun` are this one and servers take a free port. */
function start(
  commands: string,
  directory = folder,
  environment: Record<string, string> = {},
): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  return Bun.spawn(["bash", "-c", commands], {
    cwd: directory,
    env: {
      ...process.env,
      PATH: `${folder}:${process.env.PATH}`,
      LONGWIRE_PORT: "0",
      LONGWIRE_LOG_LEVEL: "warn",
      ...environment,
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true, // A group of its own, so that all of it can be ended.
  });
}

const end = (running: Bun.Subprocess): void =>
  void (running.exitCode ?? process.kill(-running.pid, "SIGKILL"));

/** @returns what the commands print until it matches, or until their end */
async function printed(running: Bun.Subprocess<"ignore", "pipe", "pipe">, pattern = /$^/): Promise<string> {
  const read = async (): Promise<string> => {
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of running.stdout) {
      text += decoder.decode(bytes, { stream: true });
      if (pattern.test(text)) break;
    }
    return text;
  };
  try {
    return await within(read(), `${pattern} from a command`);
  } finally {
    end(running);
  }
}

beforeAll(async () => {
  for (const [name, file] of [
    ["longwire", await compiledServer()],
    ["bun", process.execPath],
  ] as const)
    await symlink(file, join(folder, name));
});

describe.skipIf(lacks("curl"))("the commands of README.md", () => {
  const server = sharedServer();
  const here = (snippet: string): string => snippet.replaceAll("localhost:9090", server.url.host);

  test("build a file of its own that serves", async () => {
    const [line = ""] = block("sh", "./dist/longwire").match(/^bun run build.*$/m) ?? [];
    expect(await printed(start(line, root, forCompile), /\/ping.*\n/)).toMatch(/Longwire \S+: open http/);
  });

  test("get an answer in text, and the server's time as a stream", async () => {
    const text = await printed(start(here(block("sh", "/ping"))));
    expect(text).toContain("Publish to it:");
    expect(text).toMatch(/^data: .+$/m);
  });

  test("follow a topic and publish to it", async () => {
    const following = start(
      here(block("sh", "-N -H 'Accept: text/event-stream' http://localhost:9090/topics/news\n")),
    );
    await until(async () => (await inspect(server, "news"))?.subscribers === 1, "the reader");
    const publishing = printed(start(here(block("sh", "-d 'hello'"))));
    expect(await printed(following, /hello/)).toMatch(/^data: hello$/m);
    expect(await publishing).toMatch(/^\{"published":\[\{"topic":"news"/);
  });

  test("come back for what was missed", async () => {
    const text = await printed(start(here(block("sh", "since=$id"))));
    const [published = "", polled = ""] = text.split("}]}");
    expect(published).toContain('"topic":"news"');
    expect(JSON.parse(polled)).toMatchObject([{ data: "second" }]);
  });

  test("pipe a loop, lines of JSON and another stream into topics that end", async () => {
    const loop = await printed(start(here(block("sh", "for word in"))));
    expect(JSON.parse(loop).published).toMatchObject([{ topic: "answers/42", count: 4 }]);
    const followed = await printed(
      start(
        here(block("sh", "curl -N -H 'Accept: text/event-stream' 'http://localhost:9090/topics/answers")),
      ),
    );
    expect([...followed.matchAll(/^data: (\w+|\.)$/gm)].map(([, word]) => word)).toEqual([
      "It",
      "is",
      "42",
      ".",
    ]);
    expect(followed).toContain("event: longwire.end");
    const others = await printed(start(here(block("sh", "seq 1000", protocol))));
    expect(others).toMatch(/"topic":"numbers",.+"count":1000,.+"topic":"copy",.+"count":4,/s);
  });

  test("publish, read and follow the values of a keyed topic", async () => {
    const keyed = start(block("sh", "--keyed"));
    try {
      const { value } = await within(keyed.stdout.getReader().read(), "the server's first line");
      const [, host = ""] = /http:\/\/(localhost:\d+)/.exec(new TextDecoder().decode(value)) ?? [];
      const commands = block("sh", "key=AAPL").replaceAll("localhost:9090", host);
      const text = await printed(start(commands), /longwire\.live/);
      expect(text).toMatch(/^\{"published":\[.+\]\}187\.30retry: 1000\n/);
      expect(text).toContain('"partitionkey":"AAPL"');
    } finally {
      end(keyed);
    }
  });

  test("be on a topic, and follow who is there", async () => {
    const present = start(block("sh", "--presence"));
    try {
      const { value } = await within(present.stdout.getReader().read(), "the server's first line");
      const [, host = ""] = /http:\/\/(localhost:\d+)/.exec(new TextDecoder().decode(value)) ?? [];
      const commands = block("sh", "member=ann").replaceAll("localhost:9090", host);
      const text = await printed(start(commands), /longwire\.join.*\n/);
      expect(text).toContain('"source":"/presence/room/42"');
      expect(text).toContain('"partitionkey":"ann"');
    } finally {
      end(present);
    }
  });

  test("guard a server", async () => {
    const work = await mkdtemp(join(folder, "guard-"));
    const guarded = start(block("sh", "--api-key-file"), work);
    try {
      const { value } = await within(guarded.stdout.getReader().read(), "the server's first line");
      const [, host = ""] = /http:\/\/(localhost:\d+)/.exec(new TextDecoder().decode(value)) ?? [];
      const used = await printed(start(block("sh", "token=").replaceAll("localhost:9090", host), work));
      expect(used).toMatch(
        /^\{"published":\[\{"topic":"news\/today",.+\}\{"published":\[\{"topic":"chat\/room",.+"from a backend"/,
      );
    } finally {
      end(guarded);
    }
  });

  describe.skipIf(lacks("chromium"))("and its pages, in a browser", () => {
    let browser: Browser | undefined;
    beforeAll(async () => {
      browser = await launchBrowser();
    });
    afterAll(() => browser?.close());

    test("receive a message, by the client and without it", async () => {
      const [html = ""] = blocks(english, "html").map(here);
      const [js = ""] = blocks(english, "js").map(here);
      await using site = Bun.serve({
        hostname: "localhost",
        port: 0,
        fetch: () => new Response(html, { headers: { "Content-Type": "text/html" } }),
      });
      const page = await browser?.newPage();
      if (!page) throw new Error("there is no browser");
      const lines: string[] = [];
      page.on("console", (message) => lines.push(message.text()));
      await page.goto(site.url.href);
      await page.evaluate(js);
      await until(async () => (await inspect(server, "news")).subscribers === 3, "the three readers");
      const id = await publish(server, "news", "to pages");
      await page.waitForFunction("document.body.textContent.includes('to pages')");
      await until(() => lines.some((line) => line === `${id} to pages`), "the event stream's line");
      await until(() => lines.some((line) => line.includes("longwire.message")), "the socket's line");
    });
  });
});

describe("the programs of README.md", () => {
  const programs = blocks(english, "ts");
  const run = async (index: number): Promise<Bun.Subprocess<"ignore", "pipe", "inherit">> => {
    const file = join(folder, `${index}.ts`);
    await writeFile(file, String(programs[index]).replace("9090", "0"));
    return Bun.spawn([process.execPath, file], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  };

  test("are three, and the types are right", async () => {
    expect(programs).toHaveLength(3);
    for (const [index, program] of programs.entries())
      await writeFile(join(folder, `typed-${index}.ts`), `${program}\nexport {};\n`);
    const project = { extends: "../../tsconfig.json", include: ["typed-*.ts"] };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify(project));
    const checked = Bun.spawn([process.execPath, "check", "--no-script", "-p", "tsconfig.json"], {
      cwd: folder,
      stdout: "pipe",
    });
    expect([await new Response(checked.stdout).text(), await checked.exited]).toEqual([
      expect.any(String),
      0,
    ]);
  });

  for (const index of [0, 1]) {
    test(`serve the line: ${index + 1}`, async () => {
      const running = await run(index);
      try {
        const { value } = await within(running.stdout.getReader().read(), "the program's first line");
        const { host } = new URL(new TextDecoder().decode(value).trim());
        using client = await openWs(`ws://${host}/ping`);
        client.send("ping");
        expect(await client.next()).toBe("pong");
        expect((await fetch(`http://${host}/`)).status).toBe(200);
        if (index === 0) return;
        const post = (topic: string, headers: Record<string, string>) =>
          fetch(`http://${host}/topics/${topic}`, { method: "POST", body: "hello", headers });
        expect((await post("users/ann", { "x-user": "ann" })).status).toBe(200);
        expect((await post("users/bob", { "x-user": "ann" })).status).toBe(403);
      } finally {
        running.kill("SIGKILL");
      }
    });
  }

  test("publish and receive", async () => {
    const running = await run(2);
    const text = await within(new Response(running.stdout).text(), "the program's end");
    expect(text).toMatch(/^[0-9a-z]+-1 \{"hello":"world"\}\n$/);
    expect(await running.exited).toBe(0);
  });
});
