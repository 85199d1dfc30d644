/** SIGHUP and `reload`: other keys, secrets and certificates, and no connection is closed for them. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { makeToken } from "../src/command/token.ts";
import { ConfigError, createServer } from "../src/longwire.ts";
import { makeCertificate } from "./support/certificate.ts";
import { openWs, ws } from "./support/clients.ts";
import { type RunningServer, spawnServer } from "./support/server.ts";
import { lacks } from "./support/tool.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(120_000);

const folder = await mkdtemp(join(tmpdir(), "longwire-reload-"));
afterAll(() => rm(folder, { recursive: true }));

const keys = ["the-first-api-key-of-32-letters-1", "the-other-api-key-of-32-letters-2"] as const;
const secrets = [
  "the-first-secret-of-tokens-of-41-letters-",
  "the-other-secret-of-tokens-of-41-letters-",
] as const;

async function hangUp(server: RunningServer, expected: string): Promise<void> {
  const count = (): number => server.log().filter(({ msg }) => msg === expected).length;
  const before = count();
  server.process.kill("SIGHUP");
  await until(() => count() > before, expected);
}

const wereRead = "keys and certificate were read again";
const stay = "keys and certificate stay as they were";

const postAs = async ({ url }: RunningServer, bearer: string): Promise<number> =>
  (
    await fetch(new URL("/topics/news", url), {
      method: "POST",
      body: "x",
      headers: { Authorization: `Bearer ${bearer}` },
    })
  ).status;

describe("SIGHUP", () => {
  test("takes other API keys, and leaves connections of the earlier ones open", async () => {
    const file = join(folder, "api-keys");
    await Bun.write(file, keys[0]);
    await using server = await spawnServer(["--api-key-file", file]);
    using socket = await openWs(server.socketUrl(`/topics/news?access_token=${keys[0]}`));
    await Bun.write(file, keys[1]);
    await hangUp(server, wereRead);
    expect([await postAs(server, keys[0]), await postAs(server, keys[1])]).toEqual([401, 200]);
    expect(await socket.next()).toBe("x");
    const metrics = await fetch(new URL("/metrics", server.url), {
      headers: { Authorization: `Bearer ${keys[1]}` },
    });
    expect(metrics.status).toBe(200);
  });

  test("takes other secrets of tokens, also for a token that was seen before", async () => {
    const file = join(folder, "secrets");
    await Bun.write(file, secrets[0]);
    await using server = await spawnServer(["--jwt-secret-file", file]);
    const claims = { subscribe: [], publish: ["news"], end: [], ttlSeconds: 60, subject: undefined };
    const [first, other] = await Promise.all(secrets.map((secret) => makeToken({ ...claims, secret })));
    expect([await postAs(server, String(first)), await postAs(server, String(other))]).toEqual([200, 401]);
    await Bun.write(file, `${secrets[1]}\n${secrets[0]}`);
    await hangUp(server, wereRead);
    expect([await postAs(server, String(first)), await postAs(server, String(other))]).toEqual([200, 200]);
    await Bun.write(file, secrets[1]);
    await hangUp(server, wereRead);
    expect([await postAs(server, String(first)), await postAs(server, String(other))]).toEqual([401, 200]);
  });

  test("with a file that cannot be used changes nothing and says why, without the key", async () => {
    const file = join(folder, "broken-keys");
    await Bun.write(file, keys[0]);
    await using server = await spawnServer(["--api-key-file", file]);
    for (const [content, reason] of [
      ["", "is empty"],
      ["too-short", "16"],
    ] as const) {
      await Bun.write(file, content);
      await hangUp(server, stay);
      expect(server.log().at(-1)).toMatchObject({ level: 50, reason: expect.stringContaining(reason) });
      expect(JSON.stringify(server.log())).not.toContain("too-short");
    }
    expect(await postAs(server, keys[0])).toBe(200);
  });

  test.skipIf(lacks("openssl"))(
    "serves a renewed certificate to new connections, and leaves the open ones with their topic",
    async () => {
      const [certificateFile, keyFile] = [join(folder, "tls.crt"), join(folder, "tls.key")];
      await makeCertificate({ certificateFile, keyFile }, "first");
      await using server = await spawnServer(["--tls-cert", certificateFile, "--tls-key", keyFile]);
      expect(await presentedName(server)).toBe("first");
      const before = await openSecure(server);
      for (const name of ["second", "third"]) {
        await makeCertificate({ certificateFile, keyFile }, name);
        await hangUp(server, wereRead);
        expect(await presentedName(server)).toBe(name);
      }
      await Bun.write(keyFile, "no key");
      await hangUp(server, stay);
      expect(await presentedName(server)).toBe("third");
      const after = await openSecure(server);
      const answer = await fetch(new URL("/topics/news", server.url), {
        method: "POST",
        body: "to both",
        tls: { rejectUnauthorized: false },
      });
      expect(answer.status).toBe(200);
      expect(
        await Promise.all([before, after].map(({ received }) => within(received, "the message"))),
      ).toEqual(["to both", "to both"]);
      server.process.kill("SIGTERM");
      expect(await Promise.all([before, after].map(({ closed }) => within(closed, "a close")))).toEqual([
        1012, 1012,
      ]);
      expect(await within(server.process.exited, "the end of the server")).toBe(0);
    },
  );

  test.skipIf(lacks("openssl"))("a port that another process serves with TLS is still taken", async () => {
    const [certificateFile, keyFile] = [join(folder, "taken.crt"), join(folder, "taken.key")];
    await makeCertificate({ certificateFile, keyFile }, "taken");
    const tls = { tlsCertificateFile: certificateFile, tlsKeyFile: keyFile };
    await using server = await spawnServer(["--tls-cert", certificateFile, "--tls-key", keyFile]);
    for (const options of [tls, {}])
      await expect(createServer({ ...options, port: Number(server.url.port) })).rejects.toMatchObject({
        code: "EADDRINUSE",
      });
  });
});

describe("reload", () => {
  test("takes keys that a program has, and leaves out what stays", async () => {
    await using server = await createServer({ port: 0, apiKeys: [keys[0]], logLevel: "silent" });
    const statusOf = async (key: string): Promise<number> =>
      (await fetch(new URL("/metrics", server.url), { headers: { Authorization: `Bearer ${key}` } })).status;
    await server.reload({ apiKeys: keys });
    expect([await statusOf(keys[0]), await statusOf(keys[1])]).toEqual([200, 200]);
    await server.reload({ apiKeys: [keys[1]] });
    await server.reload();
    expect([await statusOf(keys[0]), await statusOf(keys[1])]).toEqual([401, 200]);
  });

  test("neither opens a server nor closes an open one", async () => {
    await using open = await createServer({ port: 0, logLevel: "silent" });
    await using guarded = await createServer({ port: 0, apiKeys: [keys[0]], logLevel: "silent" });
    await expect(open.reload({ apiKeys: [keys[0]] })).rejects.toBeInstanceOf(ConfigError);
    await expect(open.reload({ jwtSecrets: [secrets[0]] })).rejects.toBeInstanceOf(ConfigError);
    await expect(guarded.reload({ apiKeys: [] })).rejects.toBeInstanceOf(ConfigError);
    expect((await fetch(new URL("/metrics", guarded.url))).status).toBe(401);
  });
});

/** The name in the certificate that a new connection is shown. */
async function presentedName({ url }: RunningServer): Promise<unknown> {
  const shown = Promise.withResolvers<unknown>();
  const socket = connect({ host: "127.0.0.1", port: Number(url.port), rejectUnauthorized: false }, () =>
    shown.resolve(socket.getPeerCertificate().subject.CN),
  );
  socket.on("error", shown.reject);
  try {
    return await within(shown.promise, "a TLS handshake");
  } finally {
    socket.destroy();
  }
}

async function openSecure(server: RunningServer) {
  const socket = new ws.WebSocket(server.socketUrl("/topics/news"), { rejectUnauthorized: false });
  const opened = Promise.withResolvers<void>();
  const received = Promise.withResolvers<string>();
  const closed = Promise.withResolvers<number>();
  socket.on("open", opened.resolve);
  socket.on("error", opened.reject);
  socket.on("message", (data) => received.resolve(data.toString()));
  socket.on("close", (code) => closed.resolve(code));
  await within(opened.promise, "wss to open");
  return { received: received.promise, closed: closed.promise };
}
