/** docs/protocol.md promises clients that follow a topic through every disconnect: they are run as they stand there. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import { root } from "./support/server.ts";
import { sharedServer } from "./support/shared-server.ts";

setDefaultTimeout(20_000);

const page = await Bun.file(resolve(root, "docs/protocol.md")).text();

function client(language: string, port: number): string {
  const found = new RegExp(`<!-- client: ${language} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\`\`\``).exec(page)?.[1];
  if (found === undefined) throw new Error(`docs/protocol.md has no client in ${language}`);
  return found.replaceAll("localhost:9090", `127.0.0.1:${port}`);
}

/** A way to the server that can be cut, as a network is. */
function openProxy(target: URL): { port: number; cut(): void; stop(): void } {
  const pairs = new Set<{ end(): void; terminate(): void }>();
  const proxy = Bun.listen<{ far: Promise<Bun.Socket<undefined>> }>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(near) {
        pairs.add(near);
        near.data = {
          far: Bun.connect<undefined>({
            hostname: "127.0.0.1",
            port: Number(target.port),
            socket: {
              data: (_far, bytes) => void near.write(bytes),
              close: () => void near.end(),
            },
          }),
        };
      },
      data: (near, bytes) => void near.data.far.then((far) => far.write(bytes)),
      close(near) {
        pairs.delete(near);
        void near.data.far.then((far) => far.terminate());
      },
    },
  });
  return {
    port: proxy.port,
    cut: () => {
      for (const near of pairs) near.terminate();
    },
    stop: () => proxy.stop(true),
  };
}

const clients = [
  { language: "javascript", command: (code: string) => [process.execPath, "-e", code] },
  { language: "python", command: (code: string) => ["/usr/bin/python3", "-c", code] },
  { language: "bash", command: (code: string) => ["bash", "-c", code] },
] as const;

const hasPythonWebsockets =
  Bun.which("/usr/bin/python3") !== null &&
  Bun.spawnSync(["/usr/bin/python3", "-c", "import websockets"], { stderr: "ignore" }).exitCode === 0;

describe("the clients of docs/protocol.md", () => {
  const server = sharedServer();

  for (const { language, command } of clients) {
    const isMissing = language === "python" && !hasPythonWebsockets;
    const name = `the one in ${language} gets every message once and in order though its line is cut`;
    test.skipIf(isMissing)(isMissing ? `${name} (needs Debian's python3-websockets)` : name, async () => {
      const proxy = openProxy(server.url);
      const topic = new URL("/topics/demo", server.url);
      const publish = async (text: string): Promise<void> => {
        const answer = await fetch(topic, { method: "POST", body: text });
        expect(answer.status).toBe(200);
      };
      const follower = Bun.spawn(command(client(language, proxy.port)), {
        stdout: "pipe",
        stderr: "inherit",
      });
      try {
        const lines = readLines(follower.stdout);
        await subscribed(topic, 1);
        await publish(`${language} 1`);
        expect(await lines()).toBe(`${language} 1`);
        proxy.cut();
        await subscribed(topic, 0);
        await publish(`${language} 2`);
        await publish(`${language} 3`);
        expect(await lines()).toBe(`${language} 2`);
        expect(await lines()).toBe(`${language} 3`);
        await publish(`${language} 4`);
        expect(await lines()).toBe(`${language} 4`);
      } finally {
        follower.kill("SIGKILL");
        await follower.exited;
        proxy.stop();
        await subscribed(topic, 0);
      }
    });
  }
});

/** Waits until the server counts so many subscribers. */
async function subscribed(topic: URL, count: number): Promise<void> {
  for (;;) {
    const answer = (await (await fetch(topic)).json()) as { topics: [{ subscribers: number }] };
    if (answer.topics[0].subscribers === count) return;
    await Bun.sleep(5);
  }
}

function readLines(stream: ReadableStream<Uint8Array>): () => Promise<string | undefined> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  return async () => {
    while (!text.includes("\n")) {
      const { done, value } = await reader.read();
      if (done) return undefined;
      text += decoder.decode(value, { stream: true });
    }
    const end = text.indexOf("\n");
    const line = text.slice(0, end);
    text = text.slice(end + 1);
    return line;
  };
}
