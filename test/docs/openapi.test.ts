/** docs/openapi.json describes what Longwire takes and answers: Prism stands before a server and validates both by it. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { root } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { commandOf, lacks } from "../support/tool.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(180_000);

/** The commands of curl in the README and the recipes, without those that open a stream. */
const commands: string[] = [];
for (const name of ["README.md", ...new Bun.Glob("docs/recipes/*.md").scanSync(root)]) {
  const page = await Bun.file(resolve(root, name)).text();
  for (const [, command = ""] of page.matchAll(/^(?:\$ )?(curl .*localhost:9090\/.*)$/gm))
    if (!command.includes("text/event-stream")) commands.push(command);
}

const event = { specversion: "1.0", type: "price", source: "/shop", id: "1", data: { euro: 1 } };

/** Publications, as Content-Type and body. */
const bodies: readonly (readonly [string, string | Uint8Array<ArrayBuffer>])[] = [
  ["text/plain", "text"],
  ["application/x-www-form-urlencoded", "a=1&b"],
  ["application/json", '{"a":[1]}'],
  ["application/vnd.shop+json", "1"],
  ["application/cloudevents+json", JSON.stringify(event)],
  ["application/cloudevents-batch+json", JSON.stringify([event])],
  ["text/event-stream", "data: one\n\ndata: two\n\n"],
  ["application/x-ndjson", "1\n2\n"],
  ["application/ndjson", "1\n2\n"],
  ["application/jsonlines", "1\n2\n"],
  ["application/json-lines", "1\n2\n"],
  ["application/octet-stream", new Uint8Array([255])],
  ["image/png", new Uint8Array([137])],
];

/** Paths with a status of GET. Prism fails on the empty answer to HEAD of a type that is JSON. */
const resources: readonly (readonly [path: string, status: number, isJson?: boolean])[] = [
  ["/topics/news", 200, true],
  ["/topics/news?since=all&limit=5", 200, true],
  ["/topics/news?since=10m&wait=0s", 200, true],
  ["/topics/news?lastEventId=0-0", 200, true],
  ["/presence/room", 200, true],
  ["/presence/room?since=all&limit=5", 200, true],
  ["/presence/room?since=-&wait=0s", 200, true],
  ["/ping", 426],
  ["/healthz", 200],
  ["/readyz", 200, true],
  ["/metrics", 200],
  ["/", 200],
  ["/longconnecthtml", 200],
  ["/docs", 200],
  ["/llms.txt", 200],
  ["/openapi.json", 200, true],
  ["/asyncapi.json", 200, true],
  ["/client.js", 200],
];

describe.skipIf(lacks("prism", "curl"))("Prism takes by docs/openapi.json", () => {
  const server = sharedServer(["--keyed", "prices", "--keyed", "agents/*", "--presence", "room"]);
  let url = "";
  let folder = "";
  let prism: Bun.Subprocess | undefined;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "longwire-openapi-"));
    const file = join(folder, "openapi.json");
    await writeFile(file, JSON.stringify(await documentForPrism()));
    const probe = Bun.serve({ port: 0, fetch: () => new Response() });
    const { port } = probe;
    await probe.stop(true);
    prism = Bun.spawn(
      // By Bun, because Prism wants a newer Node than Debian has.
      [
        process.execPath,
        commandOf("prism"),
        "proxy",
        file,
        server.url.origin,
        "--errors",
        "--port",
        `${port}`,
      ],
      { stdout: "ignore", stderr: "inherit" },
    );
    url = `http://127.0.0.1:${port}`;
    const isReady = () =>
      fetch(`${url}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until(isReady, "Prism to listen");
  });

  afterAll(async () => {
    prism?.kill("SIGKILL");
    await prism?.exited;
    await rm(folder, { recursive: true, force: true });
  });

  test("each curl of the README and the recipes", async () => {
    expect(commands.length).toBeGreaterThan(5);
    for (const command of commands) {
      const here = command
        .replace("curl", "curl --silent --include --max-time 20")
        .replace("$(cat api.key)", "key")
        .replace(/http:\/\/localhost:9090(\/[a-z]*)([^\s'?]*)/, (_, path, rest) => {
          // A parameter of an OpenAPI path has no slash.
          return `${url}${path}${rest.slice(0, 1)}${rest.slice(1).replaceAll("/", "%2F")}`;
        });
      const ran = Bun.spawn(["bash", "-c", here], {
        env: { ...process.env, token: "token", id: "0-0" },
        stdout: "pipe",
      });
      const answer = await new Response(ran.stdout).text();
      expect(answer).not.toContain("stoplight.io");
      expect(`${command} ${answer.split(" ")[1]}`).toBe(
        `${command} ${command.includes("/ping") ? 426 : 200}`,
      );
    }
  });

  test("a publication of each media type, with a key, attributes and an end", async () => {
    for (const [type, body] of bodies) {
      const headers = { "Content-Type": type, "Idempotency-Key": type };
      await passes(200, "/topics/news", { method: "POST", headers, body });
    }
    // Not compressed: Prism reads every body as text and hands on what is left of it.
    await passes(200, "/topics/news", { method: "POST", headers: { "ce-type": "price" }, body: "187.2" });
    await passes(200, "/topics/news?end", { method: "POST" });
  });

  test("the values of a keyed topic: their conditions, their removal, and what is not there", async () => {
    const path = "/topics/prices?key=AMZN";
    const put = { method: "POST", body: '{"usd":1}', headers: { "Content-Type": "application/json" } };
    const asking = (headers: Record<string, string>) => ({ ...put, headers: { ...put.headers, ...headers } });
    await passes(404, path);
    await passes(200, path, asking({ "If-None-Match": "*" }));
    await passes(412, path, asking({ "If-None-Match": "*" }));
    await passes(200, path, asking({ "If-Match": "*" }));
    await passes(200, path);
    await passes(304, path, { headers: { "If-None-Match": "*" } });
    await passes(200, "/topics/prices?since=all");
    await passes(412, path, { method: "DELETE", headers: { "If-Match": '"0-0"' } });
    await passes(200, path, { method: "DELETE", headers: { "Idempotency-Key": "removal" } });
    await passes(404, path, { method: "DELETE" });
    await passes(412, path, asking({ "If-Match": "*" })); // Its `current` is null.
  });

  test("who is on a topic, and the topic that has no presence", async () => {
    const line = new AbortController();
    const headers = { Accept: "text/event-stream" };
    await fetch(new URL("/topics/room?member=ann", server.url), { headers, signal: line.signal });
    await passes(200, "/presence/room");
    await passes(200, "/presence/room?since=all");
    line.abort();
    await passes(404, "/presence/news");
  });

  test("GET, HEAD and OPTIONS of each path", async () => {
    for (const [path, status, isJson] of resources) {
      await passes(status, path);
      if (!isJson) await passes(status, path, { method: "HEAD" });
      await passes(204, path, { method: "OPTIONS" });
    }
  });

  async function passes(status: number, path: string, init: RequestInit = {}): Promise<void> {
    const answer = await fetch(`${url}${path}`, init);
    const violations = answer.headers.get("sl-violations") ?? "";
    const name = `${init.method ?? "GET"} ${path} ${JSON.stringify(init.headers ?? {})}`;
    const text = await answer.text();
    const problem = answer.ok || answer.status === status ? "" : text;
    expect(`${name} ${answer.status} ${violations}${problem}`).toBe(`${name} ${status} `);
    expect(text).not.toContain("stoplight.io");
  }
});

/** Prism takes `application/…+json` for `application/json`: what a GET of topics answers has one schema for both. */
async function documentForPrism(): Promise<unknown> {
  const document = await Bun.file(resolve(root, "docs/openapi.json")).json();
  const types = ["application/json", "application/cloudevents-batch+json"];
  for (const path of ["/topics/{topics}", "/presence/{topics}"]) {
    const { content } = document.paths[path].get.responses[200];
    const schema = { anyOf: types.map((type) => content[type].schema) };
    for (const type of types) content[type] = { schema };
  }
  return document;
}
