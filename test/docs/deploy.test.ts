/** The files that operators start from work as they stand there: nginx, systemd, Docker, alerts, the dashboard. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Subprocess } from "bun";
import { Deployment } from "kubernetes-models/apps/v1/Deployment";
import { PodDisruptionBudget } from "kubernetes-models/policy/v1/PodDisruptionBudget";
import { Service } from "kubernetes-models/v1/Service";
import packageJson from "../../package.json";
import { openWs, ws } from "../support/clients.ts";
import { compiledServer } from "../support/compiled.ts";
import { spawnDiskServer } from "../support/disk-server.ts";
import { openProducer } from "../support/producer.ts";
import { type Metrics, samplesOf, scrape } from "../support/prometheus.ts";
import { type RunningServer, root, runCommand, spawnServer } from "../support/server.ts";
import { commandOf, lacks } from "../support/tool.ts";
import { newTopic, openStream, publish } from "../support/topics.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const folder = await mkdtemp(join(tmpdir(), "longwire-deploy-"));
afterAll(() => rm(folder, { recursive: true }));

const read = (path: string): Promise<string> => Bun.file(resolve(root, path)).text();

/** @throws where the text is not there exactly once */
function replaceOnce(text: string, part: string, by: string): string {
  if (text.split(part).length !== 2) throw new Error(`"${part}" is not there exactly once`);
  return text.replace(part, by);
}

/** @returns the exit status and what was printed to stderr */
async function runTool(command: string, ...words: readonly string[]): Promise<string> {
  const ended = Bun.spawn([command, ...words], { stdout: "ignore", stderr: "pipe" });
  const errors = await new Response(ended.stderr).text();
  return `${await ended.exited} ${errors}`;
}

/** Resolves when a proxy passes requests on. */
async function answers(url: URL): Promise<void> {
  await until(async () => {
    const answer = await fetch(new URL("/healthz", url)).catch((error: Error) => error);
    return answer instanceof Response && answer.ok;
  }, `an answer from ${url.href}`);
}

describe.skipIf(lacks("nginx"))("docs/deploy/nginx.conf", () => {
  // An address of its own, so that the port is free.
  const address = "127.91.0.9";
  const port = 8089;
  const accessLog = join(folder, "access.log");
  let server: RunningServer;
  let proxy: Subprocess;
  /** The server as it is met through nginx. */
  let proxied: RunningServer;

  beforeAll(async () => {
    server = await spawnServer([
      ...["--host", "127.0.0.1", "--trust-proxy", "127.0.0.1", "--max-connections-per-ip", "3"],
      ...["--insecure", "--drain-window", "0s"],
    ]);
    let snippet = await read("docs/deploy/nginx.conf");
    snippet = replaceOnce(snippet, "    server 127.0.0.1:9090;", `    server 127.0.0.1:${server.url.port};`);
    snippet = replaceOnce(snippet, "    listen 80;", `    listen ${address}:${port};`);
    snippet = replaceOnce(snippet, "/var/log/nginx/longwire.log", accessLog);
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
      .map((name) => `${name}_temp_path ${join(folder, name)};`)
      .join("\n");
    const file = join(folder, "nginx.conf");
    await Bun.write(
      file,
      `daemon off;\nmaster_process off;\npid ${join(folder, "pid")};\nerror_log stderr;\n` +
        `events {}\nhttp {\n${temporary}\n${snippet}\n}\n`,
    );
    proxy = Bun.spawn([commandOf("nginx"), "-c", file, "-e", "stderr"], {
      stdout: "ignore",
      stderr: "inherit",
    });
    proxied = {
      ...server,
      url: new URL(`http://${address}:${port}/`),
      socketUrl: (path = "/ping") => `ws://${address}:${port}${path}`,
    };
    await answers(proxied.url);
  });

  afterAll(async () => {
    proxy?.kill("SIGKILL");
    await server?.[Symbol.asyncDispose]();
  });

  /** @returns whether it opened; it is closed with the test's end by `stack` */
  async function opens(
    stack: DisposableStack,
    path: string,
    options: { localAddress?: string; headers?: Record<string, string> } = {},
  ): Promise<{ isOpen: boolean; socket: InstanceType<typeof ws.WebSocket> }> {
    const socket = new ws.WebSocket(proxied.socketUrl(path), options);
    stack.defer(() => socket.terminate());
    const { promise, resolve: settle } = Promise.withResolvers<boolean>();
    socket.on("open", () => settle(true));
    socket.on("error", () => settle(false));
    return { isOpen: await within(promise, "an answer to a handshake"), socket };
  }

  /** What was opened is gone when the server has noticed it, too. */
  async function nobodyIsConnected(): Promise<void> {
    await until(async () => {
      const counts = Object.values(samplesOf(await scrape(server), "longwire_connections"));
      return counts.every((count) => count === 0);
    }, "everyone to be gone");
  }

  test("carries a WebSocket, small and large messages, text and binary", async () => {
    using stack = new DisposableStack();
    const { isOpen, socket } = await opens(stack, "/ping");
    expect(isOpen).toBe(true);
    for (const message of ["ping", "x".repeat(500_000), Buffer.alloc(70_000, 7)]) {
      const { promise, resolve: settle } = Promise.withResolvers<Buffer>();
      socket.once("message", (data) => settle(data as Buffer));
      socket.send(message);
      const expected = message === "ping" ? "pong" : message;
      expect((await within(promise, "an echo")).equals(Buffer.from(expected))).toBe(true);
    }
  });

  test("carries an event stream as it comes, and its resume", async () => {
    const topic = newTopic();
    let id: string | undefined;
    {
      await using stream = await openStream(proxied, topic);
      expect((await stream.next()).event).toBe("longwire.open");
      for (const text of ["one", "two"]) {
        id = await publish(proxied, topic, text);
        // Were it buffered, this would wait in vain: nothing follows.
        expect(await stream.next()).toMatchObject({ id, data: text });
      }
    }
    await publish(proxied, topic, "missed");
    await using resumed = await openStream(proxied, topic, { "Last-Event-ID": String(id) });
    expect(JSON.parse((await resumed.next()).data).topics[0]).toMatchObject({ id, resumed: true });
    expect((await resumed.next()).data).toBe("missed");
  });

  test("carries a body of --max-message, and no larger one", async () => {
    const topic = newTopic();
    expect(await publish(proxied, topic, "x".repeat(1024 * 1024))).toMatch(/-1$/);
    const url = new URL(`/topics/${topic}`, proxied.url);
    const larger = await fetch(url, { method: "POST", body: "x".repeat(1024 * 1024 + 1) });
    expect(larger.status).toBe(413);
  });

  test("carries a stream of publications as it is written", async () => {
    const topic = newTopic();
    await using viewer = await openStream(proxied, topic);
    await viewer.next();
    using producer = await openProducer(proxied.url, `${topic}?end`);
    for (const text of ["one", "two"]) {
      producer.write(`data: ${text}\n\n`);
      // Were it buffered, this would wait in vain: the body has not ended.
      expect(await viewer.next()).toMatchObject({ data: text });
    }
    expect((await producer.finish()).status).toBe(200);
    expect((await viewer.next()).event).toBe("longwire.end");
  });

  test("tells the client's address, and takes none that a client says it has", async () => {
    await nobodyIsConnected();
    using stack = new DisposableStack();
    for (let count = 0; count < 3; count++) {
      expect((await opens(stack, "/ping", { localAddress: "127.91.1.1" })).isOpen).toBe(true);
    }
    expect((await opens(stack, "/ping", { localAddress: "127.91.1.1" })).isOpen).toBe(false);
    const forged = { "X-Forwarded-For": "192.0.2.7" };
    expect((await opens(stack, "/ping", { localAddress: "127.91.1.1", headers: forged })).isOpen).toBe(false);
    expect((await opens(stack, "/ping", { localAddress: "127.91.1.2" })).isOpen).toBe(true);
  });

  test("leaves a page of the same host and port its own, and others strangers", async () => {
    await nobodyIsConnected();
    using stack = new DisposableStack();
    // By a name, because on loopback every port is at home.
    const as = (originPort: number) => ({
      headers: { Host: `app.example:${port}`, Origin: `http://app.example:${originPort}` },
    });
    expect((await opens(stack, "/ping", as(port))).isOpen).toBe(true);
    expect((await opens(stack, "/ping", as(port + 1))).isOpen).toBe(false);
  });

  test.skipIf(lacks("curl"))(
    "keeps tokens out of its log, and /metrics from others than this machine's own",
    async () => {
      const url = new URL("/topics/news?access_token=not-for-the-log", proxied.url);
      expect((await fetch(url)).status).toBe(200);
      const metrics = new URL("/metrics", proxied.url);
      expect((await fetch(metrics)).status).toBe(200);
      const words = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--interface",
        "127.91.1.1",
        metrics.href,
      ];
      expect(await new Response(Bun.spawn(words).stdout).text()).toBe("403");
      let log = "";
      await until(async () => {
        log = await Bun.file(accessLog).text();
        return log.includes('"GET /topics/news" 200');
      }, "the line in nginx's log");
      expect(log).not.toContain("not-for-the-log");
    },
  );

  test("passes on the words at the end: 1012, and the end of a stream", async () => {
    await nobodyIsConnected();
    using stack = new DisposableStack();
    const { socket } = await opens(stack, "/topics/news");
    const closed = Promise.withResolvers<number>();
    socket.on("close", closed.resolve);
    await using stream = await openStream(proxied, "news");
    await stream.next();
    server.process.kill("SIGTERM");
    expect(await within(closed.promise, "the close")).toBe(1012);
    expect(await stream.next()).toMatchObject({ event: "longwire.close" });
    await within(stream.ended, "the end of the stream");
  });
});

test.skipIf(lacks("systemd-analyze")).each(["longwire.service", "longwire@.service"])(
  "docs/deploy/%s is right in the eyes of systemd",
  async (name) => {
    const unit = await read(`docs/deploy/${name}`);
    const file = join(folder, name.replace("@", "@1"));
    await Bun.write(file, replaceOnce(unit, "ExecStart=/usr/local/bin/longwire", "ExecStart=/bin/true"));
    const verified = Bun.spawn([commandOf("systemd-analyze"), "verify", file], {
      stdout: "ignore",
      stderr: "pipe",
    });
    expect(await new Response(verified.stderr).text()).toBe("");
    expect(await verified.exited).toBe(0);
  },
);

describe.skipIf(lacks("caddy"))("docs/deploy/Caddyfile", () => {
  test("is valid for Caddy", async () => {
    const file = resolve(root, "docs/deploy/Caddyfile");
    const ended = await runTool(commandOf("caddy"), "validate", "--adapter", "caddyfile", "--config", file);
    expect(ended).toStartWith("0 ");
  });

  test("carries a WebSocket and an event stream without delay, and keeps tokens out of the log", async () => {
    await using server = await spawnServer(["--insecure", "--trust-proxy", "127.0.0.1"]);
    const url = new URL("http://127.91.0.10:8090/");
    let snippet = await read("docs/deploy/Caddyfile");
    snippet = replaceOnce(snippet, "longwire.example {", `${url.origin} {`);
    snippet = replaceOnce(snippet, "reverse_proxy 127.0.0.1:9090 {", `reverse_proxy ${server.url.host} {`);
    const accessLog = join(folder, "caddy.log");
    snippet = replaceOnce(snippet, "\tlog {\n", `\tlog {\n\t\toutput file ${accessLog}\n`);
    const file = join(folder, "Caddyfile");
    await Bun.write(file, `{\n\tadmin off\n}\n${snippet}`);
    const proxy = Bun.spawn([commandOf("caddy"), "run", "--adapter", "caddyfile", "--config", file], {
      env: { ...process.env, HOME: folder },
      stdout: "ignore",
      stderr: "ignore",
    });
    try {
      await answers(url);
      using echo = await openWs("ws://127.91.0.10:8090/ping?access_token=not-for-the-log");
      echo.send("ping");
      expect(await echo.next()).toBe("pong");
      const proxied = { ...server, url };
      await using stream = await openStream(proxied, "news");
      expect((await stream.next()).event).toBe("longwire.open");
      const id = await publish(proxied, "news", "one");
      expect(await stream.next()).toMatchObject({ id, data: "one" });
      using producer = await openProducer(url, "news", { Host: url.host });
      producer.write("data: two\n\n");
      expect(await stream.next()).toMatchObject({ data: "two" });
      expect((await producer.finish()).status).toBe(200);
      echo.close(1000);
      let log = "";
      await until(async () => {
        log = await Bun.file(accessLog).text();
        return log.includes('"uri":"/ping?access_token=REDACTED"');
      }, "the line in Caddy's log");
      expect(log).not.toContain("not-for-the-log");
    } finally {
      proxy.kill("SIGKILL");
      await proxy.exited;
    }
  });
});

test.skipIf(lacks("promtool"))("docs/alerts.yml is valid for Prometheus", async () => {
  expect(await runTool(commandOf("promtool"), "check", "rules", resolve(root, "docs/alerts.yml"))).toBe("0 ");
});

test.skipIf(lacks("promtool"))(
  "/metrics keeps the rules of Prometheus, with each engine in this process",
  async () => {
    await using memory = await spawnServer();
    await using disk = await spawnDiskServer();
    for (const { url } of [memory, disk.running]) {
      const checking = Bun.spawn([commandOf("promtool"), "check", "metrics"], {
        stdin: await fetch(new URL("/metrics", url)),
        stdout: "pipe",
        stderr: "pipe",
      });
      const said = await Promise.all(
        [checking.stdout, checking.stderr].map((stream) => new Response(stream).text()),
      );
      expect([await checking.exited, ...said]).toEqual([0, "", ""]);
    }
  },
);

describe("docs/deploy/kubernetes.yaml", async () => {
  const objects = Bun.YAML.parse(await read("docs/deploy/kubernetes.yaml")) as [
    Deployment,
    Service,
    PodDisruptionBudget,
  ];
  const [deployment] = objects;
  const pod = deployment.spec?.template.spec;
  const settings = Object.fromEntries(
    pod?.containers[0]?.env?.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])) ?? [],
  );

  test("has objects that Kubernetes takes, without an unknown field", async () => {
    const [asDeployment, asService, asBudget] = objects;
    new Deployment(asDeployment).validate();
    new Service(asService).validate();
    new PodDisruptionBudget(asBudget).validate();
    const wrong = structuredClone(deployment);
    Object.assign(wrong.spec ?? {}, { replicas: "two" });
    expect(() => new Deployment(wrong).validate()).toThrow("replicas");
    // A schema of Kubernetes passes over unknown fields, which the types do not.
    const project = await mkdtemp(join(root, "node_modules/.kubernetes-"));
    try {
      const lines = objects.map(({ apiVersion, kind }, index) => {
        const module = `kubernetes-models/${apiVersion}/${kind}`;
        return `export const object${index}: import("${module}").I${kind} = ${JSON.stringify(objects[index])};`;
      });
      const unknown = JSON.stringify({ ...objects[1], spce: {} });
      lines.push(
        "// @ts-expect-error",
        String(lines[1]).replace("object1", "wrong").replace(/ = .*/, ` = ${unknown};`),
      );
      await Bun.write(join(project, "objects.ts"), lines.join("\n"));
      const tsconfig = { extends: "../../tsconfig.json", include: ["objects.ts"] };
      await Bun.write(join(project, "tsconfig.json"), JSON.stringify(tsconfig));
      const words = ["check", "--no-script", "-p", "tsconfig.json"];
      const checked = await runCommand(words, { command: [process.execPath], directory: project });
      expect(checked).toMatchObject({ exitCode: 0 });
    } finally {
      await rm(project, { recursive: true });
    }
  });

  test("gives a pod settings that the server takes, and more time to end than it needs", async () => {
    const files = { LONGWIRE_API_KEY_FILE: "k".repeat(16), LONGWIRE_JWT_SECRET_FILE: "s".repeat(32) };
    const environment: Record<string, string> = { ...settings, LONGWIRE_REDIS: "redis://127.0.0.1:1" };
    for (const [name, text] of Object.entries(files)) {
      environment[name] = join(folder, name);
      await Bun.write(environment[name], text);
    }
    environment.LONGWIRE_OPERATIONS_PORT = "0"; // Its own port may be taken here.
    await using server = await spawnServer([], { environment });
    expect(server.startLines).toContain("Guarded");
    const seconds = (name: string): number => Number(/^(\d+)s$/.exec(settings[name] ?? "")?.[1]);
    const drain = seconds("LONGWIRE_DRAIN_DELAY") + seconds("LONGWIRE_DRAIN_WINDOW");
    expect(pod?.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(drain + 5);
    expect(pod?.containers[0]?.ports?.map(({ containerPort }) => String(containerPort))).toEqual([
      "9090",
      String(settings.LONGWIRE_OPERATIONS_PORT),
    ]);
    expect(String(pod?.containers[0]?.image)).toEndWith(`:${packageJson.version}`);
  });
});

describe("Dockerfile", () => {
  test("copies what is there and what .dockerignore lets in, and builds with the Bun that the project asks for", async () => {
    const dockerfile = await read("Dockerfile");
    const letIn = (await read(".dockerignore")).split("\n").filter((line) => line.startsWith("!"));
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(
      ([, from]) => from?.split(" ") ?? [],
    );
    expect(copied.length).toBeGreaterThan(3);
    for (const from of copied) {
      expect(existsSync(resolve(root, from))).toBe(true);
      expect(letIn).toContain(`!${from.replace("./", "")}`);
    }
    const [, bun] = /^FROM oven\/bun:([\d.]+)/m.exec(dockerfile) ?? [];
    expect(packageJson.engines.bun).toBe(`>=${bun}`);
    expect(dockerfile).toMatch(/^USER [1-9]\d*:[1-9]\d*$/m);
  });

  test("has a health check that the binary itself answers, right and wrong", async () => {
    const binary = await compiledServer();
    const [, words = "[]"] =
      /^HEALTHCHECK [^[]+(\[.+\])$/m.exec((await read("Dockerfile")).replaceAll("\\\n", "")) ?? [];
    const command = (JSON.parse(words) as string[]).map((word) =>
      word === "/usr/local/bin/longwire" ? binary : word,
    );
    expect(command).toContain(binary);
    const check = async (port: string): Promise<number> => {
      const env = { ...process.env, LONGWIRE_PORT: port };
      return Bun.spawn(command, { env, stdout: "ignore", stderr: "ignore" }).exited;
    };
    await using server = await spawnServer(["--host", "127.0.0.1"]);
    expect(await check(server.url.port)).toBe(0);
    server.process.kill("SIGKILL");
    await server.process.exited;
    expect(await check(server.url.port)).not.toBe(0);
  });
});

describe("docs/alerts.yml and docs/grafana.json", () => {
  let metrics: Metrics;
  beforeAll(async () => {
    // Each engine has some of its own.
    await using disk = await spawnDiskServer();
    await using redis = await spawnServer(["--redis", "redis://127.0.0.1:1"]);
    metrics = new Map([...(await scrape(disk.running)), ...(await scrape(redis))]);
  });

  /** Names of metrics, and the values of their labels, that the server does not have. */
  function unknownIn(expression: string): string[] {
    const names = expression.match(/\b(?:longwire|process|nodejs)_[a-z_]+/g) ?? [];
    const selections = [...expression.matchAll(/([a-z_]+)\{(\w+)=~?"([^"$]+)"\}/g)];
    return [
      ...names.filter((name) => !metrics.has(name.replace(/_(bucket|count)$/, ""))),
      ...selections
        .filter(([, , label]) => label !== "job" && label !== "instance")
        .flatMap(([, name = "", label, values = ""]) =>
          values
            .split("|")
            .filter((value) => !metrics.get(name)?.samples.has(`${label}="${value}"`))
            .map((value) => `${name}{${label}="${value}"}`),
        ),
    ];
  }

  test("the check finds a metric that is not there, and a label's value that is not", () => {
    expect(unknownIn("rate(longwire_cuts_total[5m])")).toEqual(["longwire_cuts_total"]);
    expect(unknownIn('longwire_cut_total{reason=~"slow|tired"}')).toEqual([
      'longwire_cut_total{reason="tired"}',
    ]);
  });

  test("every alert asks for metrics that are there, and says what is wrong", async () => {
    const { groups } = Bun.YAML.parse(await read("docs/alerts.yml")) as {
      groups: { rules: { alert: string; expr: string; annotations: { summary: string } }[] }[];
    };
    const rules = groups.flatMap(({ rules }) => rules);
    expect(rules.length).toBeGreaterThan(8);
    for (const { alert, expr, annotations } of rules) {
      expect([alert, ...unknownIn(expr)]).toEqual([alert]);
      expect(annotations.summary).toMatch(/\w/);
    }
  });

  test("every panel asks for metrics that are there, and every metric of Longwire has a panel", async () => {
    const text = await read("docs/grafana.json");
    const { panels } = JSON.parse(text) as { panels: { title: string; targets: { expr: string }[] }[] };
    const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    for (const expression of expressions)
      expect([expression, ...unknownIn(expression)]).toEqual([expression]);
    for (const name of metrics.keys()) {
      if (name.startsWith("longwire_")) expect(expressions.join("\n")).toContain(name);
    }
  });
});
