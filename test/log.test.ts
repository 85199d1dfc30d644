/** The log as a supervisor, a person at a terminal, and a program with a logger of its own meet it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import pino from "pino";
import { createLogger, type Logger } from "../src/log.ts";
import { root } from "./support/server.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(120_000);

/** What a client may send to have a terminal do something: C0, C1, a bidirectional override, a line separator. */
const hostile = "\u001b[31mred\u009b32mgreen\u0085\u202eesrever\u2028";

/** A program that has `log` and the lines of `code`. */
function program(code: string): string[] {
  const source = `import { createLogger } from ${JSON.stringify(resolve(root, "src/log.ts"))};
const log = createLogger("debug");
${code}`;
  return [process.execPath, "-e", source];
}

async function linesOf(code: string): Promise<Record<string, unknown>[]> {
  const running = Bun.spawn(program(code), { stdin: "ignore", stdout: "inherit", stderr: "pipe" });
  const text = await within(new Response(running.stderr).text(), "the end of the program");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

test("a JSON line has what pino writes for the same call, and one that no JSON can hold is in words", async () => {
  const calls = `
    log.info({ a: 1, text: "é\\u009b", nothing: undefined, list: [1, { b: null }] }, "fields");
    log.warn({}, "no fields");
    log.debug({ err: Object.assign(new TypeError("bad"), { code: "EBAD" }) }, "an error");
    log.error({ err: "no error" }, "thrown text");
    log.trace({}, "too detailed");`;
  const texts: string[] = [];
  const log = pino({ level: "debug" }, { write: (text) => void texts.push(text) });
  new Function("log", calls)(log);
  const comparable = (line: Record<string, unknown>) => {
    const { time, pid, err, ...rest } = line;
    expect([typeof time, typeof pid]).toEqual(["number", "number"]);
    if (typeof err !== "object") return { ...rest, err };
    const { stack, ...error } = err as { stack: string };
    return { ...rest, err: error, firstLine: stack.split("\n")[0] };
  };
  const lines = await linesOf(`${calls}
    const circle = {}; circle.itself = circle;
    log.info({ circle, big: 1n }, "strange");`);
  expect(lines.pop()).toMatchObject({ msg: "strange", fields: expect.stringContaining("1n") });
  expect(lines.map(comparable)).toEqual(texts.map((text) => comparable(JSON.parse(text))));
  expect(lines).toHaveLength(4);
});

test("control characters are escaped in JSON lines, which people read on terminals, too", async () => {
  const running = Bun.spawn(program(`log.info({ text: ${JSON.stringify(hostile)} }, "from a client");`), {
    stderr: "pipe",
  });
  const text = await within(new Response(running.stderr).text(), "the end of the program");
  expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}\u2028]/u);
  expect(JSON.parse(text).text).toBe(hostile);
});

describe("on a terminal", () => {
  const terminalOf = async (code: string, environment = {}): Promise<string> => {
    let shown = "";
    const decoder = new TextDecoder();
    const running = Bun.spawn(program(code), {
      env: { ...process.env, ...environment },
      terminal: {
        data: (_, bytes) => {
          shown += decoder.decode(bytes, { stream: true });
        },
      },
    });
    expect(await within(running.exited, "the end of the program")).toBe(0);
    await until(() => shown.includes("the last line"), "the last line");
    return shown.replaceAll("\r\n", "\n");
  };

  test("an event is a line with its time and level, and each field an indented line", async () => {
    const shown = await terminalOf(
      'log.info({ port: 9090, host: "::1" }, "listening"); log.warn({}, "the last line");',
      {
        NO_COLOR: "1",
      },
    );
    expect(shown).toMatch(
      /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: listening\n {4}port: 9090\n {4}host: "::1"\n\[.{12}\] WARN: the last line\n$/,
    );
  });

  test("an error is its stack and that of its cause", async () => {
    const shown = await terminalOf(`
      log.error({ err: new RangeError("outer", { cause: new TypeError("inner") }) }, "it failed");
      log.info({}, "the last line");`);
    expect(shown).toMatch(/err: RangeError: outer\n {8}at [\s\S]*cause: TypeError: inner\n {8}at /);
  });

  test("no control character of a client's reaches the terminal", async () => {
    const text = JSON.stringify(hostile);
    const shown = await terminalOf(
      `log.info({ text: ${text}, err: new Error(${text}) }, ${text}); log.info({}, "the last line");`,
      { NO_COLOR: "1" },
    );
    expect(shown).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}\u2028]/u);
    expect(shown).toContain("\\u001b[31mred\\u009b32mgreen\\u0085\\u202eesrever\\u2028");
  });
});

test("a reader that is stuck costs bounded memory, and learns how many lines it missed", async () => {
  const lineCount = 20_000;
  const code = `
    const text = "x".repeat(1000);
    for (let number = 0; number < ${lineCount}; number++) log.info({ number, text }, "one of many");
    console.log(process.memoryUsage.rss());`;
  const running = Bun.spawn(program(code), { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const { value } = await within(running.stdout.getReader().read(), "all lines to be logged");
  expect(Number(new TextDecoder().decode(value))).toBeLessThan(250 * 1024 * 1024);
  const text = await within(new Response(running.stderr).text(), "the end of the program");
  const lines = text.trimEnd().split("\n");
  const last = JSON.parse(lines.at(-1) ?? "");
  expect(last).toMatchObject({ level: 40, msg: expect.stringContaining("dropped") });
  expect(last.dropped).toBeGreaterThan(0);
  expect(lines.length - 1 + last.dropped).toBe(lineCount);
});

test("a program's exit right after a line loses none, and keeps their order", async () => {
  for (const pause of ["", "await Promise.resolve();", "await new Promise((done) => setImmediate(done));"]) {
    const lines = await linesOf(`log.info({}, "one"); ${pause} log.info({}, "two"); process.exit();`);
    expect(lines.map(({ msg }) => msg)).toEqual(["one", "two"]);
  }
});

test("a pino logger is a Logger, and nothing is written above the level", () => {
  const log: Logger = pino({ level: "silent" });
  log.info({}, "the types say so");
  const silent = createLogger("silent");
  for (const level of ["trace", "debug", "info", "warn", "error"] as const) silent[level]({}, "not written");
});
