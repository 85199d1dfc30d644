/** How a person's text becomes a value, and a value a person's text. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { UnitError } from "../../src/settings/unit-error.ts";
import {
  count,
  duration,
  host,
  networks,
  oneOf,
  presentedSecrets,
  redisUrl,
  size,
  type Unit,
} from "../../src/settings/units.ts";
import { Random, seed } from "../support/random.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * KiB;

describe("networks", () => {
  test("are read as networks or single addresses of either version", () => {
    const text = "10.0.0.0/8, 192.0.2.1, 2001:db8::/32, ::1, ::/0, ::ffff:10.0.0.0/104";
    expect(networks.parse(text).map(String)).toEqual(text.split(", "));
  });

  for (const text of [
    "10.0.0.0/8/9",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/255.0.0.0",
    "10/8",
    "010.0.0.0/8",
    "2001:db8::/129",
    "[::1]",
    "localhost",
  ]) {
    test(`are not "${text}"`, () => expectRefused(networks, text));
  }
});

describe("a URL of Redis", () => {
  const secret = "se%40cret";

  for (const [text, shown] of [
    ["redis://localhost", "redis://localhost:6379/0"],
    ["redis://10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"],
    ["rediss://[2001:db8::1]/", "rediss://[2001:db8::1]:6379/0"],
    [`redis://ann:${secret}@redis_1:6379`, "redis://redis_1:6379/0"],
    [`redis://:${secret}@1234`, "redis://1234:6379/0"],
    // A password with an unencoded "@": the last one ends it (WHATWG URL).
    ["redis://:se@cr:et@host/1", "redis://host:6379/1"],
    ["unix:///run/redis.sock", "unix:///run/redis.sock?db=0"],
    [`unix://ann:${secret}@/run/redis.sock?db=3`, "unix:///run/redis.sock?db=3"],
    ["", ""],
  ] as const) {
    test(`is taken as ${text || "none"}, and shown without user and password`, () => {
      const server = redisUrl.parse(text);
      expect(server?.url ?? "").toBe(text);
      expect(redisUrl.show(server)).toBe(shown);
    });
  }

  for (const [text, said] of [
    [`redis://host?password=${secret}`, "has a query"],
    ["redis://host/?db=3", "has a query"],
    [`redis://:${secret}?x@host`, "must be redis://"],
    [`redis://host/0#${secret}`, "%23"],
    [`redis://:12#${secret}@host`, "%23"],
    [`redis://:${secret}%@host`, "%25"],
    [`redis://:${secret}%zz@host`, "%25"],
    [`redis://:${secret}%ff@host`, "%25"],
    [`redis://${secret}@host`, "user without a password"],
    [`redis://ann:12/${secret}@host`, "must be redis://"],
    ["redis:///3", "must be redis://"],
    ["redis://host/three", "must be redis://"],
    ["redis://höst", "must be redis://"],
    ["host:6379", "must be redis://"],
    [`unix:///run/redis.sock?password=${secret}`, "must be redis://"],
    [`unix://${secret}@/run/redis.sock`, "user without a password"],
    ["unix://run/redis.sock", "must be redis://"],
  ] as const) {
    test(`is not ${text}, which is refused without repeating it`, () => {
      expectRefused(redisUrl, text);
      expect(() => redisUrl.parse(text)).toThrow(said);
      expect(() => redisUrl.parse(text)).not.toThrow("cret");
    });
  }
});

describe("a size", () => {
  const unit = size(1, 1024 * MiB);

  test("is read in bytes, KiB, MiB and GiB, in capitals or not", () => {
    expect(["1", "65536", "64KiB", "1MiB", "1GiB", "2kib", "3MIB"].map(unit.parse)).toEqual([
      1,
      65_536,
      64 * KiB,
      MiB,
      1024 * MiB,
      2 * KiB,
      3 * MiB,
    ]);
  });

  for (const text of [
    "",
    "MiB",
    "1KB",
    "1M",
    "1.5MiB",
    "-1",
    "+1",
    "1e3",
    "0x10",
    " 1",
    "1 MiB",
    "1s",
    "٣",
    "Infinity",
    "NaN",
  ]) {
    test(`is not "${text}"`, () => expectRefused(unit, text));
  }

  test("must lie within its bounds, which the refusal tells", () => {
    expectRefused(unit, "0");
    expectRefused(unit, "2GiB");
    expect(() => unit.parse("2GiB")).toThrow(
      'must be a size from 1 to 1073741824 bytes, such as 64KiB or 1MiB, not "2GiB"',
    );
    expectRefused(unit, "9".repeat(400));
  });

  test("is shown in the largest unit that it is a whole number of", () => {
    expect([1, 1023, 1024, 1025, 1536, 2 * MiB, 1024 * MiB].map(unit.show)).toEqual([
      "1",
      "1023",
      "1KiB",
      "1025",
      "1536",
      "2MiB",
      "1GiB",
    ]);
  });
});

describe("a duration", () => {
  const unit = duration(1, 7 * 86_400);

  test("is read in seconds, minutes, hours and days", () => {
    expect(["1s", "90s", "10m", "2h", "7d", "3M"].map(unit.parse)).toEqual([1, 90, 600, 7200, 604_800, 180]);
  });

  for (const text of ["", "25", "s", "1.5s", "-1s", "1ms", "1w", "1 s", "1MiB", "0s", "8d"]) {
    test(`is not "${text}"`, () => expectRefused(unit, text));
  }
});

describe("a count", () => {
  const unit = count(0, 65_535);

  test("is a whole number", () =>
    expect(["0", "1", "65535", "007"].map(unit.parse)).toEqual([0, 1, 65_535, 7]));

  for (const text of ["", "65536", "-1", "1.0", "http", "1KiB", "0x1"]) {
    test(`is not "${text}"`, () => expectRefused(unit, text));
  }
});

describe("a host", () => {
  test("is a name or an address", () => {
    for (const text of ["localhost", "example.org", "127.0.0.1", "::1", "fe80::1"])
      expect(host.parse(text)).toBe(text);
  });

  for (const text of ["", " ", "a b", "http://localhost", "a/b", "a\n", "[::1]:80", "user@host"]) {
    test(`is not ${JSON.stringify(text)}`, () => expectRefused(host, text));
  }
});

describe("a secret that is presented in a header", () => {
  const unit = presentedSecrets(16);

  test("is of visible ASCII characters", () => {
    expect(unit.parse("0123456789abcdef,!#$%&'()*+-./:;<=>?@[]^_`{|}~")).toHaveLength(2);
  });

  for (const text of [
    "0123456789abcde",
    "0123456789 abcdef",
    "0123456789abcdef\u00e9",
    "0123456789abcdef\t0",
  ]) {
    test(`is not ${JSON.stringify(text)}`, () => expectRefused(unit, text));
  }
});

test("a word is one of those allowed, and the refusal names them", () => {
  const unit = oneOf("calm", "loud");
  expect(unit.parse("loud")).toBe("loud");
  expect(() => unit.parse("LOUD")).toThrow('must be one of calm, loud, not "LOUD"');
  expectRefused(unit, "");
  expectRefused(unit, "toString");
});

test("a program's value is checked as a person's is, and not converted", () => {
  const unit = size(1, MiB);
  expect(unit.accept(64 * KiB)).toBe(64 * KiB);
  for (const value of [
    "64KiB",
    "5",
    0,
    -1,
    1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    MiB + 1,
    null,
    true,
    5n,
    [5],
    {},
  ]) {
    expect(() => unit.accept(value as number)).toThrow(UnitError);
  }
  for (const value of [7, null, undefined, ["localhost"], new String("localhost")]) {
    expect(() => host.accept(value as string)).toThrow(UnitError);
  }
});

test("what is shown is read back as the same value, for any value", () => {
  const random = new Random(seed);
  const units: [string, Unit<number>, number, number][] = [
    ["count", count(0, Number.MAX_SAFE_INTEGER), 0, Number.MAX_SAFE_INTEGER],
    ["size", size(0, Number.MAX_SAFE_INTEGER), 0, Number.MAX_SAFE_INTEGER],
    ["duration", duration(0, Number.MAX_SAFE_INTEGER), 0, Number.MAX_SAFE_INTEGER],
  ];
  const factors = [1, 60, 1000, 1024, 3600, 86_400, MiB, 1024 * MiB];
  for (let round = 0; round < 20_000; round++) {
    for (const [name, unit, least, most] of units) {
      // Of every length, and often a whole number of some unit.
      const factor = random.pick(factors);
      const length = 2 ** (random.fraction() * 53);
      const value = Math.min(most, Math.max(least, Math.floor(length / factor) * factor));
      const shown = unit.show(value);
      const read = unit.parse(shown);
      if (read !== value) throw new Error(`${name} ${value} is shown as ${shown}, read as ${read}`);
    }
  }
});

function expectRefused<Value, Given>(unit: Unit<Value, Given>, text: string): void {
  expect(() => unit.parse(text)).toThrow(UnitError);
}
