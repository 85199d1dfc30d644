/** The pipe of the READMEs, as it is printed: two readers, one of them cut in the middle of an event, and the producer's file. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createParser } from "eventsource-parser";
import { openCuttableLine } from "../support/cuttable-line.ts";
import { Random, seed } from "../support/random.ts";
import { root, spawnServer } from "../support/server.ts";
import { quote } from "../support/shell.ts";
import { lacks } from "../support/tool.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const folder = await mkdtemp(join(tmpdir(), "longwire-pipe-"));
afterAll(() => rm(folder, { recursive: true }));

/** What a model says: tokens with spaces, line ends and characters of several bytes. */
const tokens = Array.from({ length: 100 }, (_, index) =>
  index % 7 === 0 ? `长连接${index}\n` : index % 5 === 0 ? " 🔌" : ` token-${index}`,
);

/** Writes the tokens as an event stream, one at a time, and the text alone into a file. */
async function writeModel(): Promise<{ bin: string; answerFile: string }> {
  const answerFile = join(folder, "answer.txt");
  await writeFile(answerFile, tokens.join(""));
  const program = `
const tokens = ${JSON.stringify(tokens)};
for (const token of tokens) {
  process.stdout.write("event: token\\ndata: " + JSON.stringify(token) + "\\n\\n");
  await Bun.sleep(5);
}`;
  const source = join(folder, "some-llm.ts");
  await writeFile(source, program);
  const model = join(folder, "some-llm");
  // Not the program itself with #!, because the path of an interpreter may not have a space there.
  await writeFile(model, `#!/bin/sh\nexec ${quote(process.execPath)} ${quote(source)}\n`);
  await chmod(model, 0o755);
  return { bin: folder, answerFile };
}

/** What a reader has put together, and where it is. */
class Reading {
  text = "";
  lastId: string | undefined;
  isEnded = false;
  connections = 0;

  /** Runs the command of the README until its connection ends. @param command with the URL of this reader's line */
  async follow(command: string): Promise<void> {
    this.connections++;
    const resume = this.lastId === undefined ? "" : ` -H 'Last-Event-ID: ${this.lastId}'`;
    const process = Bun.spawn(["bash", "-c", `exec ${command} -s${resume}`], { stdout: "pipe" });
    const parser = createParser({
      onEvent: ({ event, data, id }) => {
        this.lastId = id;
        if (event === "token") this.text += JSON.parse(data);
        if (event === "longwire.end") this.isEnded = true;
      },
    });
    const decoder = new TextDecoder();
    for await (const bytes of process.stdout) parser.feed(decoder.decode(bytes, { stream: true }));
    await process.exited;
  }
}

// README.zh-CN.md has the same commands, as test/docs/readme.test.ts shows.
for (const page of ["README.md"]) {
  describe.skipIf(lacks("curl"))(page, () => {
    test("pipes a stream to two readers, one of which is cut amid an event and comes back, and both have all of it", async () => {
      const readme = await Bun.file(resolve(root, page)).text();
      // The producer of the README writes four words, this one as much as a model does.
      const pipe =
        /done \|\n +(curl [^`]*answers\/42\?end'\n)/.exec(readme)?.[1]?.replace(/^/, "some-llm | ") ?? "";
      const follow = /```sh\n(curl -N[^`]*answers\/42\?since=first')\n```/.exec(readme)?.[1] ?? "";
      expect(pipe).toContain("?end");
      expect(follow).toContain("curl");
      const { bin, answerFile } = await writeModel();
      await using server = await spawnServer(["--history-messages", "1000"]);
      const at = (command: string, url: URL): string => command.replace("http://localhost:9090/", url.href);

      // Each connection of the second reader breaks after a random number of bytes, mostly in the middle of an event.
      const random = new Random(seed);
      using line = openCuttableLine(server.url, () => random.between(200, 1500));
      const steady = new Reading();
      const broken = new Reading();
      const steadyDone = steady.follow(at(follow, server.url));
      const brokenDone = (async () => {
        while (!broken.isEnded) await broken.follow(at(follow, line.url));
      })();
      const producer = Bun.spawn(["bash", "-c", at(pipe, server.url)], {
        env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
        stdout: "pipe",
        stderr: "ignore",
      });

      const answer = JSON.parse(await within(new Response(producer.stdout).text(), "the producer", 40));
      await within(Promise.all([steadyDone, brokenDone]), "both readers to see the end", 40);
      const written = await Bun.file(answerFile).text();
      expect(answer.published).toMatchObject([{ topic: "answers/42", count: tokens.length }]);
      expect(steady.text).toBe(written);
      expect(broken.text).toBe(written);
      expect([steady.isEnded, broken.isEnded]).toEqual([true, true]);
      expect(steady.connections).toBe(1);
      expect(broken.connections).toBeGreaterThan(3);
      expect(steady.lastId).toBe(answer.published[0].end);
      await until(() => broken.lastId === answer.published[0].end, "the id of the end");
    });
  });
}
