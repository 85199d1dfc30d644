/** TLS of the server itself: https and wss, a renewed certificate, and the errors of wrong files. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type PeerCertificate } from "node:tls";
import { type CertificateFiles, makeCertificate } from "../support/certificate.ts";
import { ws } from "../support/clients.ts";
import { type RunningServer, runCommand, spawnServer } from "../support/server.ts";
import { lacks } from "../support/tool.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const folder = await mkdtemp(join(tmpdir(), "longwire-tls-"));
afterAll(() => rm(folder, { recursive: true }));

interface Pair extends CertificateFiles {
  readonly flags: readonly string[];
}

async function makePair(name: string): Promise<Pair> {
  const files = { certificateFile: join(folder, `${name}.crt`), keyFile: join(folder, `${name}.key`) };
  await makeCertificate(files, name);
  return { ...files, flags: ["--tls-cert", files.certificateFile, "--tls-key", files.keyFile] };
}

/** The certificate that the server presents. */
async function certificateOf(server: RunningServer, { certificateFile }: Pair): Promise<PeerCertificate> {
  const shown = Promise.withResolvers<PeerCertificate>();
  const socket = connect(
    { host: "127.0.0.1", port: Number(server.url.port), ca: await Bun.file(certificateFile).text() },
    () => shown.resolve(socket.getPeerCertificate()),
  );
  socket.on("error", shown.reject);
  try {
    return await within(shown.promise, "a TLS handshake");
  } finally {
    socket.destroy();
  }
}

async function openSecure(server: RunningServer, path: string, { certificateFile }: Pair) {
  const ca = await Bun.file(certificateFile).text();
  const socket = new ws.WebSocket(server.socketUrl(path), { ca });
  const opened = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<number>();
  socket.on("open", opened.resolve);
  socket.on("error", opened.reject);
  socket.on("close", (code) => closed.resolve(code));
  await within(opened.promise, "wss to open");
  return { socket, closed: closed.promise };
}

describe.skipIf(lacks("openssl"))("--tls-cert and --tls-key", () => {
  let pair: Pair;
  let server: RunningServer;
  beforeAll(async () => {
    pair = await makePair("first");
    server = await spawnServer(pair.flags);
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("serve https and wss, and the first lines of output have these schemes", async () => {
    expect(server.startLines).toContain(`https://localhost:${server.url.port}/`);
    expect(server.startLines).toContain(`wss://localhost:${server.url.port}/ping`);
    const tls = { ca: await Bun.file(pair.certificateFile).text() };
    expect(await (await fetch(new URL("/readyz", server.url), { tls })).json()).toMatchObject({
      ready: true,
    });

    const subscriber = await openSecure(server, "/topics/news", pair);
    const received = Promise.withResolvers<string>();
    subscriber.socket.on("message", (data) => received.resolve(data.toString()));
    const published = await fetch(new URL("/topics/news", server.url), {
      method: "POST",
      body: "hello",
      tls,
    });
    expect(published.status).toBe(200);
    expect(await within(received.promise, "a message over wss")).toBe("hello");

    const stream = await fetch(new URL("/topics/news?since=all", server.url), {
      headers: { Accept: "text/event-stream" },
      tls,
    });
    const reader = stream.body?.getReader();
    expect(new TextDecoder().decode((await reader?.read())?.value)).toContain("event: longwire.open");
    await reader?.cancel();
    subscriber.socket.terminate();
  });

  test("do not serve plain HTTP on the same port", async () => {
    await expect(fetch(`http://localhost:${server.url.port}/`)).rejects.toThrow();
  });

  test("permit pages of the server's own https origin, and the hint of /ping has wss", async () => {
    const tls = { ca: await Bun.file(pair.certificateFile).text() };
    const answer = await fetch(new URL("/ping", server.url), { headers: { Origin: server.url.origin }, tls });
    expect(answer.status).toBe(426);
    expect(await answer.text()).toContain(`wss://localhost:${server.url.port}/ping`);
  });

  test("a restart serves a renewed certificate, and connected clients are closed with 1012", async () => {
    const renewed = await makePair("second");
    const flags = ["--host", "127.0.0.1", ...pair.flags];
    await using first = await spawnServer(flags);
    expect((await certificateOf(first, pair)).subject.CN).toBe("first");
    const client = await openSecure(first, "/ping", pair);
    const before = await Bun.file(pair.certificateFile).text();
    const beforeKey = await Bun.file(pair.keyFile).text();
    try {
      await writeFile(pair.certificateFile, await Bun.file(renewed.certificateFile).text());
      await writeFile(pair.keyFile, await Bun.file(renewed.keyFile).text());
      first.process.kill("SIGTERM");
      expect(await within(client.closed, "the client to be told")).toBe(1012);
      expect(await within(first.process.exited, "the old process to exit")).toBe(0);
      await using second = await spawnServer([...flags, "--port", first.url.port]);
      expect((await certificateOf(second, renewed)).subject.CN).toBe("second");
    } finally {
      await writeFile(pair.certificateFile, before);
      await writeFile(pair.keyFile, beforeKey);
    }
  });

  const junk = join(folder, "junk.pem");
  const mistakes: readonly (readonly [string, () => Promise<readonly string[]>, readonly string[]])[] = [
    [
      "a certificate without a key",
      async () => pair.flags.slice(0, 2),
      ["--tls-cert", "--tls-key", "together"],
    ],
    ["a key without a certificate", async () => pair.flags.slice(2), ["--tls-cert", "--tls-key", "together"]],
    [
      "a file that is not there",
      async () => ["--tls-cert", join(folder, "none.crt"), "--tls-key", pair.keyFile],
      ["none.crt", "cannot be read"],
    ],
    [
      "a file that is no certificate",
      async () => ["--tls-cert", junk, "--tls-key", pair.keyFile],
      ["junk.pem", "certificate in PEM"],
    ],
    [
      "a file that is no key",
      async () => ["--tls-cert", pair.certificateFile, "--tls-key", junk],
      ["junk.pem", "private key"],
    ],
    [
      "the key of another certificate",
      async () => ["--tls-cert", pair.certificateFile, "--tls-key", (await makePair("other")).keyFile],
      ["other.key", "not that of the certificate"],
    ],
  ];
  for (const [mistake, flags, words] of mistakes) {
    test(`${mistake} ends the command with exit code 2 and a one-line reason`, async () => {
      await writeFile(junk, "no PEM\n");
      const { exitCode, output, errors } = await runCommand(["--port", "0", ...(await flags())]);
      expect(errors.trimEnd().split("\n")).toHaveLength(1);
      for (const word of words) expect(errors).toContain(word);
      expect(errors).not.toContain("PRIVATE KEY-----");
      expect({ exitCode, output }).toEqual({ exitCode: 2, output: "" });
    });
  }
});
