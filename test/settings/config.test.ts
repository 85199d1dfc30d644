/** The settings: the table, its defaults, and the pages that repeat it. */
import { describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { readCommandLine } from "../../src/command/command-line.ts";
import { createLogger } from "../../src/log.ts";
import { createServer } from "../../src/longwire.ts";
import { startServer } from "../../src/server.ts";
import {
  ConfigError,
  completeConfig,
  environmentName,
  type GivenHandlerConfig,
  handlerSettings,
  readOptions,
  type Setting,
  settings,
} from "../../src/settings/config.ts";
import type { Unit } from "../../src/settings/units.ts";

setDefaultTimeout(120_000);

const names = Object.keys(settings) as (keyof typeof settings)[];

describe("the table of settings", () => {
  test("has a flag only once, in small letters and hyphens", () => {
    const flags = names.map((name) => settings[name].flag);
    expect(new Set(flags).size).toBe(flags.length);
    for (const flag of flags) expect(flag).toMatch(/^[a-z0-9]+(?:-[a-z0-9]+)*$/);
  });

  test("names a variable after its flag", () => {
    expect(environmentName("max-message")).toBe("LONGWIRE_MAX_MESSAGE");
    expect(environmentName("port")).toBe("LONGWIRE_PORT");
  });

  for (const name of names) {
    const setting: Setting<unknown> = settings[name];

    test(`has a default of ${name} that its own unit reads back as it shows it`, () => {
      expect(setting.unit.parse(setting.unit.show(setting.default))).toEqual(setting.default);
    });

    test(`has a line of help for ${name}, which begins like a phrase and does not end like a sentence`, () => {
      expect(setting.help).toMatch(/^[a-z].*[^.]$/);
    });
  }
});

describe("a value is read once, by its unit", () => {
  /** Calls of each unit that a setting has, some of which are shared. */
  const countReads = (): { readonly count: number } & Disposable => {
    const units = new Set(Object.values(settings).map(({ unit }): Unit<unknown> => unit));
    const spies = [...units].flatMap((unit) => [spyOn(unit, "parse"), spyOn(unit, "accept")]);
    return {
      get count() {
        return spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0);
      },
      [Symbol.dispose]: () => {
        for (const spy of spies) spy.mockRestore();
      },
    };
  };
  const key = "a-key-of-at-least-16-bytes";

  test("of a command line, until its server listens", async () => {
    using reads = countReads();
    const words = ["--retain=log/* 1000 2h", "--trust-proxy=10.0.0.0/8", `--api-key=${key}`, "--port=0"];
    const line = await readCommandLine([...words, "--log-level=silent"]);
    if (line.command !== "serve") throw new Error("the command serves");
    const server = await startServer(line.config, createLogger("silent"), undefined);
    await server.stop();
    expect(reads.count).toBe(words.length + 1);
  });

  test("of a program's options, until its server listens", async () => {
    using reads = countReads();
    const options = { retain: ["log/* 1000 2h"], trustedProxies: ["10.0.0.0/8"], apiKeys: [key] };
    await using _server = await createServer({ ...options, port: 0, logLevel: "silent" });
    expect(reads.count).toBe(5);
  });
});

describe("completeConfig", () => {
  test("fills in the defaults", () => {
    const config = completeConfig(settings, { port: 0 });
    expect(config).toEqual({
      ...(Object.fromEntries(names.map((name) => [name, settings[name].default])) as typeof config),
      port: 0,
    });
  });

  test("fills in another default where a setting has one with another", () => {
    const shared = completeConfig(settings, { redisUrl: settings.redisUrl.unit.parse("redis://localhost") });
    expect(shared.drainWindowSeconds).toBe(5);
    expect(completeConfig(settings, { ...shared, drainWindowSeconds: 0 }).drainWindowSeconds).toBe(0);
  });

  test("returns an object that cannot be changed", () => {
    expect(Object.isFrozen(completeConfig(settings, {}))).toBe(true);
  });
});

describe("the options of a program", () => {
  test("that are undefined are not given", () => {
    const given = { messageBytesMax: undefined } as unknown as Partial<GivenHandlerConfig>;
    expect(readOptions(handlerSettings, given)).toEqual({});
  });

  test("become the values that the server uses", () => {
    const options = { retain: ["log/* 1000 2h"], redisUrl: "redis://ann:secret@localhost/3" };
    expect(readOptions(handlerSettings, options)).toEqual({
      retain: [{ pattern: "log/*", messages: 1000, ageSeconds: 7200 }],
      redisUrl: { url: options.redisUrl, server: "redis://localhost:6379", database: 3 },
    });
  });

  for (const [name, message] of [
    ["maxMessage", "maxMessage is not an option: did you mean messageBytesMax?"],
    ["mesageBytesMax", "mesageBytesMax is not an option: did you mean messageBytesMax?"],
    ["port", "port is not an option here: it is one of createServer, which listens by itself"],
    ["colour", "colour is not an option"],
    ["__proto__", "__proto__ is not an option"],
  ] as const) {
    test(`refuses ${name}, which a handler does not have`, () => {
      const given = JSON.parse(`{"${name}":1}`);
      expect(() => readOptions(handlerSettings, given)).toThrow(new ConfigError(message));
    });
  }

  test("names the wrong setting by its name in a program", () => {
    const wrong = () => readOptions(settings, { heartbeatIntervalSeconds: -1 });
    expect(wrong).toThrow(ConfigError);
    expect(wrong).toThrow(/^heartbeatIntervalSeconds must be a time from 1 to 3600 seconds.*, not -1\.$/);
  });
});
