/** `longwire check`: what it finds directly, and through proxies that pass, buffer and cut. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCheck } from "../../src/command/check.ts";
import { readCommandLine } from "../../src/command/command-line.ts";
import { makeCertificate } from "../support/certificate.ts";
import { mistakeIn, serveHere } from "../support/command-line.ts";
import { compiledServer } from "../support/compiled.ts";
import { freePort } from "../support/free-port.ts";
import { Ocean } from "../support/ocean.ts";
import { type RunningServer, runCommand, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { commandOf, lacks } from "../support/tool.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const apiKey = "an-api-key-of-32-characters-0001";
const folder = await mkdtemp(join(tmpdir(), "longwire-check-"));
afterAll(() => rm(folder, { recursive: true }));

interface Report {
  readonly exitCode: number;
  readonly isFine: boolean;
  readonly findings: readonly {
    readonly check: string;
    readonly isFine: boolean;
    readonly text: string;
    readonly figures?: Readonly<Record<string, number | string | boolean>>;
  }[];
}

async function check(url: URL | string, flags: readonly string[] = [], environment = {}): Promise<Report> {
  const { exitCode, output, errors } = await runCommand(["check", String(url), "--json", ...flags], {
    environment,
    seconds: 100,
  });
  if (output === "") throw new Error(`check printed nothing: ${errors}`);
  return { exitCode, ...JSON.parse(output) };
}

function findingOf({ findings }: Report, name: string): Report["findings"][number] {
  const found = findings.find(({ check }) => check === name);
  if (!found) throw new Error(`there is no finding "${name}" in ${JSON.stringify(findings)}`);
  return found;
}

const wrongIn = ({ findings }: Report): string[] =>
  findings.filter(({ isFine }) => !isFine).map(({ check }) => check);

/** Each check has a topic of its own. */
const server = sharedServer(["--insecure"]);

/** Leaves the proof out. */
const none = ["--messages", "0"];
/** Each line is cut after 50 to 400 messages, so it comes back at least once. */
const few = ["--messages", "500"];
const many = ["--messages", "1000"];

// Each waits for events of a server once a second, so they wait together.
describe.concurrent("longwire check", () => {
  test("cuts its own lines and counts 0 lost and 0 twice of 1,000, and says so", async () => {
    const { exitCode, output, errors } = await runCommand(
      ["check", `localhost:${server.url.port}`, ...many],
      { seconds: 100 },
    );
    expect([exitCode, errors]).toEqual([0, ""]);
    // A line that is not cut after it was to be counts each message as a cut.
    for (const line of ["WebSocket", "events"])
      expect(output).toMatch(
        new RegExp(
          `✓ resume over ${line} +1,000 published, 1,000 seen, 0 lost, 0 twice; cut [1-9]\\d? times, 0 gaps told\\n`,
        ),
      );
    expect(output).toMatch(/– idle +not tried: --idle 90s/);
    expect(output).toMatch(/✓ time of the proof +1,000 messages in [\d.]+ s; 10,000 usually take /);
    expect(output).toEndWith("All is well.\n");
  });

  test("shows a progress bar on a terminal, and leaves none of it", async () => {
    let shown = "";
    const decoder = new TextDecoder();
    const command = [await compiledServer(), "check", server.url.href, ...few];
    const checking = Bun.spawn(command, {
      terminal: {
        cols: 200,
        data: (_, bytes) => {
          shown += decoder.decode(bytes, { stream: true });
        },
      },
    });
    expect(await within(checking.exited, "the end of the check", 100)).toBe(0);
    await until(() => shown.includes("All is well."), "the last line");
    expect(shown).toMatch(/\r {2}resume +\[#+ +\] \d+ %/);
    for (const [line = ""] of shown.matchAll(/^.*✓.*$/gm))
      expect(line.split("\u001b[K").at(-1)).not.toContain("%");
  });

  test("counts a told gap, and takes it for no loss", async () => {
    await using forgetful = await spawnServer(["--history-messages", "0"]);
    const report = await check(forgetful.url, many);
    expect([report.exitCode, wrongIn(report)]).toEqual([0, []]);
    const figures = ["WebSocket", "events"].map((line) => findingOf(report, `resume over ${line}`).figures);
    expect(figures.reduce((sum, each) => sum + Number(each?.gaps), 0)).toBeGreaterThan(0);
    for (const each of figures) expect(each).toMatchObject({ published: 1000, lost: 0, twice: 0 });
  });

  test("finds one message that is lost, one that comes twice, and a WebSocket that is not passed, and ends with 1", async () => {
    await using forger = forgerOf(server);
    const report = await check(forger.url, many);
    expect([report.exitCode, wrongIn(report)]).toEqual([1, ["WebSocket", "resume over events"]]);
    expect(findingOf(report, "WebSocket").text).toContain("Upgrade");
    expect(findingOf(report, "resume over events").figures).toMatchObject({
      published: 1000,
      seen: 999,
      lost: 1,
      twice: 1,
    });
  });

  test("presents a token to a guarded server, and says what is missing without one", async () => {
    await using guarded = await spawnServer(["--api-key", apiKey, "--private-ping"]);
    const without = await check(guarded.url, few);
    expect([without.exitCode, wrongIn(without)]).toEqual([1, ["WebSocket", "events", "poll", "resume"]]);
    expect(findingOf(without, "WebSocket").text).toContain("401: A token is needed");
    for (const report of [
      await check(guarded.url, [...few, "--token", apiKey]),
      await check(guarded.url, none, { LONGWIRE_TOKEN: apiKey }),
    ])
      expect([report.exitCode, wrongIn(report)]).toEqual([0, []]);
  });

  test.skipIf(lacks("caddy"))(
    "names compression in the way that holds one line back, and no other line",
    async () => {
      await using plain = await spawnServer(["--insecure", "--compression", "off"]);
      const site = `http://127.91.0.24:${await freePort()}`;
      const file = join(folder, "Caddyfile");
      const rules = `encode gzip\nreverse_proxy ${plain.url.host} {\nflush_interval -1\n}`;
      await Bun.write(file, `{\nadmin off\n}\n${site} {\n${rules}\n}\n`);
      await using _caddy = running([commandOf("caddy"), "run", "--adapter", "caddyfile", "--config", file]);
      await until(
        async () => (await fetch(`${site}/healthz`).catch(() => undefined))?.ok ?? false,
        "an answer of Caddy",
      );
      const report = await check(site, few);
      expect([report.exitCode, wrongIn(report)]).toEqual([1, ["resume over events"]]);
      expect(findingOf(report, "resume over events").text).toContain(
        "holds back the compressed event stream (Content-Encoding: gzip)",
      );
    },
  );
});

describe("longwire check, where it comes to nothing", () => {
  /** In this process, whose console is silent for so long. */
  async function checkHere(url: URL | string): Promise<Report> {
    const line = await readCommandLine(["check", String(url), "--json"]);
    if (line.command !== "check") throw new Error("it is another command");
    const printed = spyOn(console, "log").mockImplementation(() => undefined);
    try {
      const isFine = await runCheck(line.task);
      return { exitCode: isFine ? 0 : 1, ...JSON.parse(String(printed.mock.calls[0]?.[0])) };
    } finally {
      printed.mockRestore();
    }
  }

  async function expectAdvice(cases: readonly (readonly [url: URL | string, said: string])[]): Promise<void> {
    for (const [url, said] of cases) {
      const report = await checkHere(url);
      expect([report.exitCode, wrongIn(report)]).toEqual([1, ["connect"]]);
      expect(findingOf(report, "connect").text).toContain(said);
    }
  }

  test("says in one sentence what to do about a connection that fails", async () => {
    await using other = Bun.serve({ port: 0, fetch: () => new Response("another program") });
    await using guard = Bun.serve({ port: 0, fetch: () => new Response("who are you?", { status: 401 }) });
    const free = await freePort();
    await expectAdvice([
      [`localhost:${free}`, `nothing listens at localhost:${free}: start the server`],
      ["no-such-host.invalid", "the name of no-such-host.invalid"],
      [other.url, "this is no Longwire"],
      [`localhost:${guard.port}`, "is refused with 401: who are you? (give --token"],
    ]);
  });

  test.skipIf(lacks("openssl"))("and about one that needs TLS, or has none", async () => {
    const pair = { certificateFile: join(folder, "own.crt"), keyFile: join(folder, "own.key") };
    await makeCertificate(pair, "own", "DNS:localhost");
    await using tls = await serveHere(["--tls-cert", pair.certificateFile, "--tls-key", pair.keyFile]);
    await expectAdvice([
      [`https://localhost:${tls.url.port}`, "NODE_EXTRA_CA_CERTS"],
      [`https://localhost:${server.url.port}`, `try http://localhost:${server.url.port}`],
      [`http://localhost:${tls.url.port}`, `try https://localhost:${tls.url.port}`],
    ]);
  });

  test("ends with 1 where it fails, and says what is wrong with its words", async () => {
    const { exitCode, output } = await runCommand(["check", `localhost:${await freePort()}`]);
    expect([exitCode, output]).toEqual([1, expect.stringContaining("✗ connect")]);
    for (const [words, reason] of [
      [[], "needs a URL"],
      [["--json"], "needs a URL"],
      [["ftp://localhost"], "no URL"],
      [["localhost:1", "--messages", "many"], "--messages"],
      [["localhost:1", "--topic", "a//b"], "empty part"],
    ] as const)
      expect(await mistakeIn(["check", ...words])).toContain(reason);
    const help = await runCommand(["check", "--help"]);
    for (const flag of ["--token", "--topic", "--messages", "--idle", "--json"])
      expect(help.output).toContain(flag);
  });
});

/** A server in the way that passes no Upgrade, loses one message and repeats another, however often they are sent. */
function forgerOf(server: RunningServer) {
  let repeated = "";
  const forge = (event: string): string => {
    if (event.includes('"data":"300"')) return "";
    if (event.includes('"data":"600"')) repeated = event;
    // Also where the line was cut after the first time: it comes back with the id of this event.
    return event.includes('"data":"601"') ? repeated + event : event;
  };
  return Bun.serve({
    port: 0,
    idleTimeout: 0,
    fetch: async (request) => {
      const { pathname, search } = new URL(request.url);
      const headers = new Headers(request.headers);
      for (const name of ["upgrade", "connection", "host"]) headers.delete(name);
      headers.set("accept-encoding", "identity"); // It changes the text.
      const { method, signal } = request;
      const body = method === "POST" ? await request.text() : undefined;
      const answer = await fetch(new URL(pathname + search, server.url), {
        method,
        headers,
        signal,
        body: body ?? null,
      });
      if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream") || pathname === "/ping")
        return answer;
      const decoder = new TextDecoder();
      let begun = "";
      const forging = new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => {
          const events = (begun + decoder.decode(chunk, { stream: true })).split("\n\n");
          begun = events.pop() ?? "";
          controller.enqueue(new TextEncoder().encode(events.map((event) => forge(`${event}\n\n`)).join("")));
        },
      });
      return new Response(answer.body?.pipeThrough(forging), { headers: answer.headers });
    },
  });
}

const address = "127.91.0.23";
const pair = { certificateFile: join(folder, "tls.crt"), keyFile: join(folder, "tls.key") };
const [passing, buffering, cutting, secure] = [8101, 8102, 8103, 8104];
const proxies = [
  { name: "nginx", start: startNginx },
  { name: "haproxy", start: startHaproxy },
] as const;

for (const { name, start } of proxies) {
  describe.skipIf(lacks(name, "openssl"))(`longwire check through ${name}`, () => {
    let proxy: AsyncDisposable;

    beforeAll(async () => {
      proxy = await start(commandOf(name), server.url.port);
      for (const port of [passing, cutting])
        await until(
          async () => (await fetch(`http://${address}:${port}/healthz`).catch(() => undefined))?.ok ?? false,
          `an answer of ${name}`,
        );
    });

    afterAll(() => proxy?.[Symbol.asyncDispose]());

    test.concurrent("that passes everything finds nothing", async () => {
      const report = await check(`http://${address}:${passing}`, [...few, "--idle", "4s"]);
      expect([report.exitCode, wrongIn(report)]).toEqual([0, []]);
      expect(findingOf(report, "idle").text).toContain("stayed open");
    });

    test.concurrent("that buffers says so, and still proves the WebSocket", async () => {
      const report = await check(`http://${address}:${buffering}`, few);
      expect([report.exitCode, wrongIn(report)]).toEqual([1, ["events"]]);
      expect(findingOf(report, "events")).toMatchObject({
        text: expect.stringContaining("something in the way buffers"),
        figures: { isBuffered: true },
      });
      expect(findingOf(report, "resume over WebSocket").figures).toMatchObject({
        published: 500,
        lost: 0,
        twice: 0,
      });
    });

    test.concurrent("that cuts silent lines says after which time", async () => {
      const report = await check(`http://${address}:${cutting}`, [...none, "--idle", "8s"]);
      expect([report.exitCode, wrongIn(report)]).toEqual([1, ["idle"]]);
      expect(findingOf(report, "idle").text).toMatch(/was cut after [23]\.\d s of silence/);
    });

    test.concurrent("that has TLS and HTTP/2 opens the stream over it", async () => {
      const environment = { NODE_EXTRA_CA_CERTS: join(folder, "tls.crt") };
      const report = await check(`https://${address}:${secure}`, few, environment);
      expect([report.exitCode, wrongIn(report)]).toEqual([0, []]);
      expect(findingOf(report, "connect").text).toContain("TLS");
      expect(findingOf(report, "HTTP/2").figures).toMatchObject({ isOffered: true });
    });
  });
}

/** Writes the certificate and its key, and a file with both for haproxy. */
async function makePair(): Promise<void> {
  await makeCertificate(pair, "check", `IP:${address}`);
  const texts = [pair.certificateFile, pair.keyFile].map((file) => Bun.file(file).text());
  await Bun.write(join(folder, "tls.pem"), (await Promise.all(texts)).join(""));
}

function running(command: readonly string[]): AsyncDisposable {
  const proxy = Bun.spawn([...command], { stdout: "ignore", stderr: "ignore" });
  return {
    [Symbol.asyncDispose]: async () => {
      proxy.kill("SIGKILL");
      await proxy.exited;
    },
  };
}

async function startNginx(command: string, port: string): Promise<AsyncDisposable> {
  await makePair();
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${join(folder, name)};`)
    .join("\n");
  const upstream = `proxy_pass http://127.0.0.1:${port}; proxy_http_version 1.1; proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;`;
  const server = (listen: string, rules: string): string =>
    `server { listen ${address}:${listen}; location / { ${upstream} ${rules} } }`;
  const file = join(folder, "nginx.conf");
  await Bun.write(
    file,
    `daemon off; master_process off; pid ${join(folder, "nginx.pid")}; error_log /dev/null; events {}
    http { access_log off; ${temporary}
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    ${server(`${passing}`, "proxy_buffering off;")}
    ${server(`${buffering}`, "proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_http_version 1.0;")}
    ${server(`${cutting}`, "proxy_buffering off; proxy_read_timeout 2s;")}
    ${server(`${secure} ssl http2; ssl_certificate ${join(folder, "tls.crt")}; ssl_certificate_key ${join(folder, "tls.key")}`, "proxy_buffering off;")}
    }`,
  );
  return running([command, "-c", file, "-e", "/dev/null"]);
}

async function startHaproxy(command: string, port: string): Promise<AsyncDisposable> {
  await makePair();
  const listen = (name: string, bind: string, rules: readonly string[]): string =>
    [`listen ${name}`, `bind ${address}:${bind}`, ...rules, `server one 127.0.0.1:${port}`].join("\n  ");
  const long = ["timeout server 60s", "timeout tunnel 60s"];
  const file = join(folder, "haproxy.cfg");
  await Bun.write(
    file,
    [
      "defaults\n  mode http\n  timeout client 60s\n  timeout connect 5s",
      listen("passing", `${passing}`, long),
      listen("buffering", `${buffering}`, [
        ...long,
        "http-response wait-for-body time 30s if { status 200 }",
      ]),
      listen("cutting", `${cutting}`, ["timeout server 2s", "timeout tunnel 2s"]),
      listen("secure", `${secure} ssl crt ${join(folder, "tls.pem")} alpn h2,http/1.1`, long),
      "",
    ].join("\n"),
  );
  return running([command, "-f", file]);
}

describe("longwire check --compare", () => {
  test("prints the nearest first, and says which was not reached", async () => {
    using line = new Ocean(Number(server.url.port), 40);
    const [near, far, nobody] = [server.url.host, `localhost:${line.port}`, `localhost:${await freePort()}`];
    const words = ["check", "--compare", far, near];
    const { exitCode, output } = await runCommand([...words, "--json"], { seconds: 100 });
    expect(exitCode).toBe(0);
    const [first, second] = JSON.parse(output);
    expect([first.url, second.url]).toEqual([`http://${near}`, `http://${far}`]);
    expect(second.roundTripMilliseconds).toBeGreaterThan(80);
    expect(first.roundTripMilliseconds).toBeLessThan(second.roundTripMilliseconds);
    const other = await runCommand(["check", "--compare", nobody, near], { seconds: 100 });
    expect(other.exitCode).toBe(1);
    expect(other.output).toMatch(
      new RegExp(`^✓ http://${near} .*\n✗ http://${nobody} .*\nNearest: http://${near}\n$`),
    );
  });

  test("without a URL says what to type", async () => {
    expect(await mistakeIn(["check", "--compare"])).toStartWith(
      "longwire: --compare needs the URLs of servers: longwire check --compare ",
    );
  });
});
