/** What the server says without a browser: text at /, /llms.txt, /docs, /openapi.json and /asyncapi.json. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import asyncApiSchema from "@asyncapi/specs/schemas/3.0.0-without-$id.json";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv from "ajv";
import { version } from "../../package.json";
import { problemTitles } from "../../src/http/problem.ts";
import { closeCode } from "../../src/wire/close-code.ts";
import { root, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { lacks } from "../support/tool.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const apiKey = "an-api-key-of-32-characters-0001";
const server = sharedServer();

async function textOf(path: string, url = server.url): Promise<string> {
  const answer = await fetch(new URL(path, url));
  expect(`${path} ${answer.status}`).toBe(`${path} 200`);
  return await answer.text();
}

const documentOf = async (path: string) => JSON.parse(await textOf(path));

describe("/ and /longconnecthtml", () => {
  test("answer curl with half a screen of text, and a browser with the page", async () => {
    for (const path of ["/", "/longconnecthtml"]) {
      for (const [accept, type] of [
        ["*/*", "text/plain; charset=utf-8"],
        ["text/html;q=0, */*", "text/plain; charset=utf-8"],
        ["text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"],
      ] as const) {
        const answer = await fetch(new URL(path, server.url), { headers: { Accept: accept } });
        expect([answer.status, answer.headers.get("Content-Type")]).toEqual([200, type]);
        expect(answer.headers.get("Vary")).toContain("Accept");
      }
    }
    const lines = (await textOf("/")).trimEnd().split("\n");
    expect(lines.length).toBeLessThanOrEqual(12);
  });

  test.skipIf(lacks("curl"))(
    "the commands of the text work as they are printed, with the host that was asked",
    async () => {
      const text = await textOf("/", new URL(`http://127.0.0.1:${server.url.port}/`));
      const [, publish = ""] = /Publish to it: +(.*)/.exec(text) ?? [];
      const [, follow = ""] = /Follow a topic: +(.*)/.exec(text) ?? [];
      expect(publish).toContain(`http://127.0.0.1:${server.url.port}/topics/`);
      const published = Bun.spawn(["sh", "-c", publish], { stdout: "pipe", stderr: "ignore" });
      expect(await new Response(published.stdout).json()).toMatchObject({ published: [{ topic: "news" }] });
      const following = Bun.spawn(["sh", "-c", `exec ${follow}`], { stdout: "pipe", stderr: "ignore" });
      try {
        const { value } = await within(following.stdout.getReader().read(), "the first event");
        expect(new TextDecoder().decode(value)).toContain("event: longwire.open");
      } finally {
        following.kill("SIGKILL");
      }
    },
  );

  test("say whether a token is needed, and where to put it", async () => {
    expect(await textOf("/")).toContain("No token is needed here");
    await using guarded = await spawnServer(["--api-key", apiKey]);
    for (const path of ["/", "/llms.txt"]) {
      const text = await textOf(path, guarded.url);
      expect(text).toContain("Topics are guarded");
      expect(text).toContain(`curl -d hello -H 'Authorization: Bearer <token>' http://localhost:`);
    }
  });
});

test("/docs is the page of the protocol as Markdown", async () => {
  const answer = await fetch(new URL("/docs", server.url));
  expect(answer.headers.get("Content-Type")).toBe("text/markdown; charset=utf-8");
  expect(await answer.text()).toBe(await Bun.file(resolve(root, "docs/protocol.md")).text());
});

test("/docs is a page for a browser, in the words of the Markdown, whose links lead to their headings", async () => {
  const answer = await fetch(new URL("/docs", server.url), { headers: { Accept: "text/html" } });
  expect(answer.headers.get("Content-Type")).toBe("text/html; charset=utf-8");
  expect(answer.headers.get("Vary")).toContain("Accept");
  const ids = new Set<string>();
  const links: string[] = [];
  const text: string[] = [];
  const page = new HTMLRewriter()
    .on("main [id]", { element: (heading) => void ids.add(heading.getAttribute("id") ?? "") })
    .on("main a[href^='#']", {
      element: (link) => void links.push(link.getAttribute("href")?.slice(1) ?? ""),
    })
    .on("main", { text: (chunk) => void text.push(chunk.text) });
  await page.transform(answer).text();
  expect(links.length).toBeGreaterThan(10);
  expect(links.filter((link) => !ids.has(link))).toEqual([]);
  const markdown = await Bun.file(resolve(root, "docs/protocol.md")).text();
  const wordsOf = (source: string): string[] => source.match(/[\p{L}\p{N}]+/gu) ?? [];
  // Marks of Markdown, comments, numbers of lists, targets of links and HTML entities are no words of the text.
  const plain = markdown.replaceAll(/\]\([^)]*\)|^```.*$|<!--.*-->|^\d+\. /gm, " ");
  expect(wordsOf(text.join("").replaceAll(/&\w+;|&#\d+;/g, " "))).toEqual(wordsOf(plain));
});

test("/llms.txt has the form of llmstxt.org, and its links lead to what they name", async () => {
  const text = await textOf("/llms.txt");
  expect(text).toMatch(/^# Longwire\n\n> .+\n[\s\S]*\n## Docs\n\n- \[/);
  const links = [...text.matchAll(/\]\((http[^)]+)\)/g)].map(([, link]) => String(link));
  expect(links.length).toBe(3);
  for (const link of links) expect(`${link} ${(await fetch(link)).status}`).toBe(`${link} 200`);
});

test("every link between the documents leads to a file that is there", async () => {
  const pages = ["*.md", "docs/**/*.md"].flatMap((files) => [...new Bun.Glob(files).scanSync({ cwd: root })]);
  expect(pages.length).toBeGreaterThan(10);
  for (const page of pages) {
    const text = (await Bun.file(resolve(root, page)).text()).replaceAll(/```[\s\S]*?```/g, "");
    for (const [, link = ""] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g))
      expect(`${page}: ${link} ${existsSync(resolve(root, dirname(page), link))}`).toBe(
        `${page}: ${link} true`,
      );
  }
});

test("the secrets that the README makes are not committed by mistake", async () => {
  const made = [...(await Bun.file(resolve(root, "README.md")).text()).matchAll(/^head -c .* > (\S+)$/gm)];
  expect(made.length).toBe(2);
  const ignored = (await Bun.file(resolve(root, ".gitignore")).text()).split("\n");
  expect(ignored).toEqual(expect.arrayContaining(made.map(([, file]) => `/${file}`)));
});

describe("/openapi.json", () => {
  test("is valid OpenAPI 3.1 with this server and version", async () => {
    const document = await documentOf("/openapi.json");
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    expect([valid, errors]).toEqual([true, undefined]);
    expect([document.info.version, document.servers]).toEqual([version, [{ url: server.url.origin }]]);
  });

  test("has only paths that are there, with the methods that they allow", async () => {
    const { paths } = await documentOf("/openapi.json");
    for (const [path, operations] of Object.entries<Record<string, unknown>>(paths)) {
      const url = new URL(path.replace("{topics}", "news"), server.url);
      const { headers, status } = await fetch(url, { method: "OPTIONS" });
      expect(`${path} ${status}`).toBe(`${path} 204`);
      const allowed = (headers.get("Allow") ?? "").toLowerCase().split(", ");
      const described = Object.keys(operations).filter((name) => name !== "parameters");
      expect(allowed).toEqual(described);
    }
  });

  test("has every status of the code", async () => {
    const { paths } = await documentOf("/openapi.json");
    const statuses = new Set<number>();
    for (const operations of Object.values<Record<string, { readonly responses?: object }>>(paths))
      for (const { responses } of Object.values(operations))
        for (const status of Object.keys(responses ?? {})) statuses.add(Number(status));
    for (const status of Object.keys(problemTitles).map(Number))
      expect(`${status} ${statuses.has(status)}`).toBe(`${status} true`);
  });
});

describe("/asyncapi.json", () => {
  test("is valid AsyncAPI 3.0 with this server and version", async () => {
    const document = await documentOf("/asyncapi.json");
    const ajv = new Ajv({ strict: false, validateFormats: false });
    expect([ajv.validate(asyncApiSchema, document), ajv.errors]).toEqual([true, null]);
    expect(document.info.version).toBe(version);
    expect(document.servers.websocket).toMatchObject({ host: server.url.host, protocol: "ws" });
    expect(document.servers.http).toMatchObject({ host: server.url.host, protocol: "http" });
  });

  test("its references lead to something, and it has every close code", async () => {
    const document = await documentOf("/asyncapi.json");
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path]) =>
      String(path),
    );
    expect(references.length).toBeGreaterThan(20);
    for (const path of references) {
      const found = path.split("/").reduce((value, name) => value?.[name], document);
      expect(`${path} ${typeof found}`).toBe(`${path} object`);
    }
    expect(
      document.components.messages.close.payload.properties.data.properties.code.enum.toSorted(),
    ).toEqual(Object.values(closeCode).toSorted());
    for (const code of Object.values(closeCode)) expect(document.info.description).toContain(`- ${code}: `);
  });
});
