/** `follow` of longwire/client as it runs in Bun, in Node and in a page of Chromium: a program that reports what it is told. */
import { resolve } from "node:path";
import type { Page } from "playwright-core";
import { root } from "./server.ts";
import { commandOf } from "./tool.ts";
import { Inbox } from "./wait.ts";

/** What a program follows, and how. */
export interface Wanted {
  readonly url: string;
  readonly transport?: "websocket" | "eventsource";
  /** One for each call of `token`, the last one for all that follow; no `token` if left out. */
  readonly tokens?: readonly string[];
  /** How many times faster its timers run. */
  readonly hurry?: number;
}

/** The name of the callback, then its arguments. A message is its topic, its id and its data, a stop has the cursor too. */
type Report = readonly [name: string, ...rest: unknown[]];

export interface ClientProgram extends AsyncDisposable {
  /** The next report, of those named if there are names. */
  next(...names: readonly string[]): Promise<Report>;
}

type Follow = typeof import("../../src/client/client.ts").follow;

/** Runs in the program, so it must not use anything from around it. */
function program(
  follow: Follow,
  { url, transport, tokens, hurry = 1 }: Wanted,
  report: (line: string) => void,
): void {
  const random = Math.random;
  Math.random = () => random() / 50; // It comes back soon.
  const { setInterval } = globalThis;
  globalThis.setInterval = ((act: () => void, milliseconds: number) =>
    setInterval(act, milliseconds / hurry)) as typeof globalThis.setInterval;
  const say = (...said: unknown[]): void => report(JSON.stringify(said));
  const left = [...(tokens ?? [])];
  const following = follow(url, {
    ...(transport && { transport }),
    ...(tokens && { token: () => String(left.length > 1 ? left.shift() : left[0]) }),
    onMessage: ({ topic, id, data }) => say("message", topic, id, data),
    onGap: ({ topic, from }) => say("gap", topic, from),
    onEnd: ({ topic, id }) => say("end", topic, id),
    onOpen: () => say("open", following.transport),
    onLost: (code) => say("lost", code),
    onStop: (code, reason) => say("stop", code, reason, following.cursor),
  });
}

class Reports implements ClientProgram {
  readonly #inbox = new Inbox<string>();
  readonly #end: () => Promise<unknown>;

  constructor(end: () => Promise<unknown>) {
    this.#end = end;
  }

  put(line: string): void {
    this.#inbox.put(line);
  }

  fail(error: Error): void {
    this.#inbox.end(error);
  }

  async next(...names: readonly string[]): Promise<Report> {
    for (;;) {
      const report = JSON.parse(await this.#inbox.take(`a report of the client: ${names.join(", ")}`, 60));
      if (names.length === 0 || names.includes(report[0])) return report;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }
}

/** @param command what runs a module that is given as text */
function startProcess(command: readonly string[], clientUrl: string, wanted: Wanted): ClientProgram {
  const code = `
    import { follow } from ${JSON.stringify(clientUrl)};
    (${program})(follow, ${JSON.stringify(wanted)}, console.log);`;
  const running = Bun.spawn([...command, code], { stdout: "pipe", stderr: "inherit" });
  const reports = new Reports(() => {
    running.kill("SIGKILL");
    return running.exited;
  });
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of running.stdout) {
      const lines = (text + decoder.decode(bytes, { stream: true })).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) reports.put(line);
    }
    reports.fail(new Error("the program ended"));
  };
  read().catch((error) => reports.fail(error));
  return reports;
}

export const inBun = (wanted: Wanted): ClientProgram =>
  startProcess([process.execPath, "-e"], resolve(root, "src/client/client.ts"), wanted);

/** @param client the text of /client.js: Node does not load TypeScript of a package */
export const inNode = (client: string, wanted: Wanted): ClientProgram =>
  startProcess(
    [commandOf("Node 20.10"), "--experimental-websocket", "--no-warnings", "--input-type=module", "-e"],
    `data:text/javascript,${encodeURIComponent(client)}`,
    wanted,
  );

/** @param page of the server, in a browser */
export async function inPage(page: Page, wanted: Wanted): Promise<ClientProgram> {
  const reports = new Reports(() => page.close());
  await page.exposeFunction("report", (line: string) => reports.put(line));
  await page.evaluate(
    `import("/client.js").then(({ follow }) => (${program})(follow, ${JSON.stringify(wanted)}, report))`,
  );
  return reports;
}
