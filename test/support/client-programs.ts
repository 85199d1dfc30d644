/**
 * `follow` of longwire/client as it runs in Bun, in Node and in a page of Chromium: programs that report what they are told,
 * several in one process or page, which is dear to start.
 */
import { resolve } from "node:path";
import type { Page } from "playwright-core";
import { linesOf } from "./lines.ts";
import { root } from "./server.ts";
import { commandOf } from "./tool.ts";
import { Inbox } from "./wait.ts";

/** What a program follows, and how. */
export interface Wanted {
  readonly url: string;
  readonly transport?: "websocket" | "eventsource";
  /** One for each call of `token`, the last one for all that follow; no `token` if left out. */
  readonly tokens?: readonly string[];
}

/** The name of the callback, then its arguments. A message is its topic, its id and its data, a stop has the cursor too. */
type Report = readonly [name: string, ...rest: unknown[]];

export interface ClientProgram extends AsyncDisposable {
  /** The next report, of those named if there are names. */
  next(...names: readonly string[]): Promise<Report>;
}

/** Runs programs, each until it is disposed. */
export interface Place extends AsyncDisposable {
  start(wanted: Wanted): Promise<ClientProgram>;
}

type Follow = typeof import("../../src/client/client.ts").follow;

/** Runs where the programs do, so that it must not use anything from around it. @returns what starts a program */
function prepare(
  follow: Follow,
  hurry: number,
  report: (number: number, line: string) => void,
): (number: number, wanted?: Wanted) => void {
  const { random } = Math;
  Math.random = () => random() / 50; // They come back soon.
  const { setInterval } = globalThis;
  globalThis.setInterval = ((act: () => void, milliseconds: number) =>
    setInterval(act, milliseconds / hurry)) as typeof globalThis.setInterval;
  const running = new Map<number, ReturnType<Follow>>();
  return (number, wanted) => {
    running.get(number)?.stop();
    if (!wanted) return;
    const { url, transport, tokens } = wanted;
    const say = (...said: unknown[]): void => report(number, JSON.stringify(said));
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
    running.set(number, following);
  };
}

/** What the programs of a place report. */
class Reports {
  readonly #inboxes: Inbox<string>[] = [];

  readonly put = (number: number, line: string): void => this.#inboxes[number]?.put(line);

  fail(error: Error): void {
    for (const inbox of this.#inboxes) inbox.end(error);
  }

  /** @param control starts the program of this number, and stops it if nothing is wanted */
  async start(wanted: Wanted, control: (number: number, wanted?: Wanted) => unknown): Promise<ClientProgram> {
    const inbox = new Inbox<string>();
    const number = this.#inboxes.push(inbox) - 1;
    await control(number, wanted);
    return {
      next: async (...names) => {
        for (;;) {
          const report = JSON.parse(await inbox.take(`a report of the client: ${names.join(", ")}`, 60));
          if (names.length === 0 || names.includes(report[0])) return report;
        }
      },
      [Symbol.asyncDispose]: async () => {
        await control(number);
      },
    };
  }
}

/** @param command what runs a module that is given as text @param hurry how many times faster its intervals run */
function startProcess(command: readonly string[], clientUrl: string, hurry: number): Place {
  const code = `
    import { createInterface } from "node:readline";
    import { follow } from ${JSON.stringify(clientUrl)};
    const start = (${prepare})(follow, ${hurry}, (...report) => console.log(JSON.stringify(report)));
    for await (const line of createInterface({ input: process.stdin })) start(...JSON.parse(line));`;
  const running = Bun.spawn([...command, code], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const reports = new Reports();
  const read = async (): Promise<void> => {
    for await (const line of linesOf(running.stdout)) reports.put(...(JSON.parse(line) as [number, string]));
    reports.fail(new Error("the programs ended"));
  };
  read().catch((error) => reports.fail(error));
  return {
    start: (wanted) =>
      reports.start(wanted, (...control) => {
        running.stdin.write(`${JSON.stringify(control)}\n`);
        return running.stdin.flush();
      }),
    [Symbol.asyncDispose]: async () => {
      running.kill("SIGKILL");
      await running.exited;
    },
  };
}

export const inBun = (hurry = 1): Place =>
  startProcess([process.execPath, "-e"], resolve(root, "src/client/client.ts"), hurry);

/** @param client the text of /client.js: Node does not load TypeScript of a package */
export const inNode = (client: string, hurry = 1): Place =>
  startProcess(
    [commandOf("Node 20.10"), "--experimental-websocket", "--no-warnings", "--input-type=module", "-e"],
    `data:text/javascript,${encodeURIComponent(client)}`,
    hurry,
  );

/** @param page of the server, in a browser */
export async function inPage(page: Page): Promise<Place> {
  const reports = new Reports();
  await page.exposeFunction("report", reports.put);
  await page.evaluate(
    `import("/client.js").then(({ follow }) => { globalThis.start = (${prepare})(follow, 1, report); })`,
  );
  return {
    start: (wanted) =>
      reports.start(wanted, (...control) =>
        page.evaluate((control) => Reflect.get(globalThis, "start")(...control), control),
      ),
    [Symbol.asyncDispose]: () => page.close(),
  };
}
