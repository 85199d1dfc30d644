/** A socket file in place of an address, for a proxy on the same machine. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ws } from "../support/clients.ts";
import { runCommand, spawnServer } from "../support/server.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const folder = await mkdtemp(join(tmpdir(), "longwire-unix-"));
afterAll(() => rm(folder, { recursive: true }));

let filesNamed = 0;
const newSocketFile = (): string => join(folder, `${++filesNamed}.sock`);

const get = (unix: string, path: string, init: BunFetchRequestInit = {}): Promise<Response> =>
  fetch(`http://localhost${path}`, { unix, ...init });

/** Opens a WebSocket and sends one message. @returns the answer */
async function echo(socketFile: string, message: string): Promise<string> {
  const socket = new ws.WebSocket(`ws+unix:${socketFile}:/ping`);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  socket.on("open", () => socket.send(message));
  socket.on("error", reject);
  socket.on("message", (data) => resolve(data.toString()));
  try {
    return await within(promise, "an echo over a socket file");
  } finally {
    socket.terminate();
  }
}

describe("--unix", () => {
  test("serves HTTP, WebSockets and streams on a socket file, prints its path, and removes it at the end", async () => {
    const socketFile = newSocketFile();
    await using server = await spawnServer(["--unix", socketFile]);
    expect(server.url.href).toBe(`unix://${socketFile}`);
    expect(await (await get(socketFile, "/readyz")).json()).toMatchObject({ ready: true });
    expect(await echo(socketFile, "ping")).toBe("pong");
    expect((await get(socketFile, "/topics/news", { method: "POST", body: "hello" })).status).toBe(200);
    const stream = await get(socketFile, "/topics/news?since=all", {
      headers: { Accept: "text/event-stream" },
    });
    const reader = stream.body?.getReader();
    let text = "";
    while (!text.includes("data: hello")) text += new TextDecoder().decode((await reader?.read())?.value);
    server.process.kill("SIGTERM");
    expect(await within(server.process.exited, "the process to exit")).toBe(0);
    expect(existsSync(socketFile)).toBe(false);
  });

  test("has the permissions of the umask, which is how a proxy's group gets access", async () => {
    const socketFile = newSocketFile();
    const run = `umask 0007; exec ${process.execPath} run src/index.ts "$@"`;
    await using _ = await spawnServer(["--unix", socketFile], { command: ["sh", "-c", run, "sh"] });
    expect((await stat(socketFile)).mode & 0o777).toBe(0o770);
  });

  test("replaces the file of a killed process", async () => {
    const socketFile = newSocketFile();
    const killed = await spawnServer(["--unix", socketFile]);
    killed.process.kill("SIGKILL");
    await killed.process.exited;
    expect((await stat(socketFile)).isSocket()).toBe(true);
    await using _ = await spawnServer(["--unix", socketFile]);
    expect(await echo(socketFile, "again")).toBe("again");
  });

  test("leaves the file of a running process alone, and exits with 2", async () => {
    const socketFile = newSocketFile();
    await using _ = await spawnServer(["--unix", socketFile]);
    const { exitCode, output, errors } = await runCommand(["--unix", socketFile]);
    expect({ exitCode, output }).toEqual({ exitCode: 2, output: "" });
    expect(errors).toContain(`Another process listens on ${socketFile}`);
    expect(await echo(socketFile, "still here")).toBe("still here");
  });

  test("removes no file that is not a socket, and exits with 2", async () => {
    const file = join(folder, "notes.txt");
    await writeFile(file, "kept");
    const { exitCode, output, errors } = await runCommand(["--unix", file]);
    expect({ exitCode, output }).toEqual({ exitCode: 2, output: "" });
    expect(errors).toContain(`${file} exists already and is not a socket`);
    expect(await Bun.file(file).text()).toBe("kept");
  });

  test("names the file in the error if it cannot listen there", async () => {
    const socketFile = join(folder, "no-such-folder", "longwire.sock");
    const { exitCode, errors } = await runCommand(["--unix", socketFile]);
    expect(exitCode).toBe(1);
    expect(errors).toContain(`cannot listen on ${socketFile}`);
    expect(errors).not.toContain("127.0.0.1");
  });

  test("uses X-Forwarded-For if a proxy is trusted", async () => {
    const socketFile = newSocketFile();
    const flags = ["--trust-proxy", "127.0.0.1", "--max-connections-per-ip", "1"];
    await using _ = await spawnServer(["--unix", socketFile, ...flags]);
    const open = (address: string) => {
      const headers = { Accept: "text/event-stream", "X-Forwarded-For": address };
      return get(socketFile, "/topics/news", { headers });
    };
    const first = (await open("192.0.2.1")).body?.getReader();
    expect(new TextDecoder().decode((await first?.read())?.value)).toContain("event: longwire.open");
    expect(await (await open("192.0.2.1")).text()).toMatch(/^retry: \d+\n\n$/);
    const other = (await open("192.0.2.2")).body?.getReader();
    expect(new TextDecoder().decode((await other?.read())?.value)).toContain("event: longwire.open");
    await Promise.all([first?.cancel(), other?.cancel()]);
  });
});
