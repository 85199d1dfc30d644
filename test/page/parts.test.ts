/** The parts of the page that need no browser. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { showMilliseconds } from "../../public/ground/times.ts";
import { statisticsOf } from "../../public/latency/statistics.ts";
import { type Entry, hexRows } from "../../public/log/entry.ts";
import { publishCode, type Scene, subscribeCode } from "../../public/topics/commands.ts";
import { Keys } from "../../public/topics/keys.ts";
import { Proof } from "../../public/topics/proof.ts";
import { Resume } from "../../public/topics/resume.ts";
import { faultOfTopicName } from "../../public/topics/topic-name.ts";
import { chinese } from "../../public/words/chinese.ts";
import { english } from "../../public/words/english.ts";
import { backoffSeconds, isFinal } from "../../src/client/coming-back.ts";
import * as server from "../../src/topic/message.ts";
import { lacks } from "../support/tool.ts";

setDefaultTimeout(120_000);

describe("a line that comes back", () => {
  test("waits a random time whose limit doubles, up to 30 s", () => {
    const { random } = Math;
    try {
      Math.random = () => 1;
      const longest = [0, 1, 2, 3, 4, 5, 6, 50, 5000].map((tries) => backoffSeconds(tries, 1006));
      expect(longest).toEqual([1, 2, 4, 8, 16, 30, 30, 30, 30]);
      Math.random = () => 0.25;
      expect(backoffSeconds(2, 1006)).toBe(1);
    } finally {
      Math.random = random;
    }
  });

  test("returns at once from a draining node, later after a fault, and not after a refusal", () => {
    for (const code of [1012, 4401]) expect(backoffSeconds(0, code)).toBeLessThanOrEqual(0.5);
    for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 1013, 4000, 4409])
      expect([code, isFinal(code, "")]).toEqual([code, false]);
    for (const code of [1002, 1003, 1007, 1008, 1009, 1010, 4403, 4410])
      expect([code, isFinal(code, "")]).toEqual([code, true]);
    expect(isFinal(1000, "ended")).toBe(true);
  });
});

describe("the proof", () => {
  const follow = (...ids: string[]): Proof => {
    const proof = new Proof();
    proof.opened("news", "e-0");
    for (const id of ids) proof.received("news", id);
    return proof;
  };

  test("counts what arrives, and does not take an offset that is left out for a loss", () => {
    const proof = follow("e-1", "e-2", "e-5");
    expect([proof.seen, proof.lost, proof.twice]).toEqual([3, 0, 0]);
  });

  test("counts a message that comes twice, and reports one that comes too late", () => {
    const proof = follow("e-1", "e-2");
    expect(proof.received("news", "e-2")).toBe(false);
    expect(proof.received("news", "e-1")).toBe(false);
    expect([proof.seen, proof.twice]).toEqual([4, 2]);
  });

  test("counts a message of this page that a later one has passed as lost, whichever answer came first", () => {
    const proof = follow("e-1");
    proof.published("news", "e-2");
    expect(proof.lost).toBe(0);
    proof.received("news", "e-3");
    expect(proof.lost).toBe(1);
    const late = follow("e-1", "e-3");
    late.published("news", "e-2");
    late.published("news", "e-3");
    expect(late.lost).toBe(1);
  });

  test("takes what a snapshot brings again after a gap for neither twice nor late", () => {
    const proof = follow("e-1", "e-2");
    proof.gap("news", "e-0.4", true);
    expect([proof.received("news", "e-2"), proof.received("news", "e-4")]).toEqual([true, true]);
    expect([proof.twice, proof.lost]).toEqual([0, 0]);
  });

  test("does not count what a gap reported", () => {
    const proof = follow("e-1");
    proof.published("news", "e-2");
    proof.gap("news", "e-4");
    proof.received("news", "e-5");
    proof.published("news", "e-3");
    expect([proof.gaps, proof.lost, proof.seen]).toEqual([1, 0, 2]);
  });

  test("begins anew in another epoch, and keeps its counts", () => {
    const proof = follow("e-1", "e-2");
    proof.published("news", "e-3");
    proof.gap("news", "f-0");
    proof.received("news", "f-1");
    expect([proof.seen, proof.gaps, proof.lost, proof.twice]).toEqual([3, 1, 0, 0]);
  });
});

test("a resume is complete once every topic has reached its position, and counts only what was missed", () => {
  const counts: number[] = [];
  const resume = new Resume(
    new Map([
      ["a", "e-2"],
      ["b", "f-0"],
    ]),
    (count) => counts.push(count),
  );
  resume.received("a", "e-3");
  resume.endsAt(
    new Map([
      ["a", "e-3"],
      ["b", "f-1"],
    ]),
  );
  expect(counts).toEqual([]);
  resume.received("a", "e-4"); // Live.
  resume.received("b", "f-1");
  expect(counts).toEqual([2]);
});

test("percentiles are values that were measured, and lost pings are not among them", () => {
  expect(statisticsOf([])).toBeUndefined();
  expect(statisticsOf([null])).toBeUndefined();
  const values = [null, ...Array.from({ length: 100 }, (_, index) => 100 - index)];
  expect(statisticsOf(values)).toEqual({ p50: 50, p95: 95, p99: 99, max: 100 });
});

test("milliseconds have a tenth where the clock has one, and none are not zero", () => {
  expect([0.25, 9.96, 12.4].map(showMilliseconds)).toEqual(["0.3 ms", "10.0 ms", "12 ms"]);
  expect([0, 2].map(showMilliseconds)).toEqual(["< 1 ms", "2 ms"]); // The clock of Firefox.
});

test("bytes are shown with their offset and as ASCII", () => {
  expect(hexRows(new TextEncoder().encode("Hé, sixteen bytes"))).toBe(
    [
      "00000000  48 c3 a9 2c 20 73 69 78 74 65 65 6e 20 62 79 74  H.., sixteen byt",
      `00000010  65 73${" ".repeat(43)} es`,
    ].join("\n"),
  );
});

describe("the name of a topic", () => {
  const faults = {
    empty: [""],
    long: ["x".repeat(201), "新".repeat(201), "\u{20000}".repeat(151)],
    emptyPart: ["/news", "news/", "chat//42", "/"],
    dots: [".", "..", "chat/./42", "chat/../42"],
    characters: ["a b", "news,sport", "🔌", "50%", "a?b", "a#b", "a\\b", "a\n", "\ud842"],
    form: ["cafe\u0301", "가".normalize("NFD")],
  };
  const names = [
    "news",
    "chat/room/42",
    "A-Z.0_9~:x",
    "...",
    "x".repeat(200),
    "新闻",
    "café/१२",
    "新".repeat(200),
  ];

  test("has the fault that is reported", () => {
    for (const [fault, faulty] of Object.entries(faults))
      expect(faulty.map(faultOfTopicName)).toEqual(faulty.map(() => fault as keyof typeof faults));
    expect(names.map(faultOfTopicName)).toEqual(names.map(() => undefined));
  });

  test("has the same rules in the page and in the server", () => {
    for (const name of [...Object.values(faults).flat(), ...names])
      expect([name, faultOfTopicName(name) === undefined]).toEqual([
        name,
        server.faultOfTopicName(name) === undefined,
      ]);
  });
});

describe("the commands to copy", () => {
  const scene: Scene = {
    topics: ["news"],
    http: new URL("http://localhost:9090/topics/news"),
    socket: new URL("ws://localhost:9090/topics/news"),
    since: "",
    text: "hello",
    isJson: false,
    attributes: {},
    ends: false,
    hasToken: false,
  };

  test("are written as a person would write them", () => {
    expect(subscribeCode("curl", scene)).toBe(
      "curl -N -H 'Accept: text/event-stream' http://localhost:9090/topics/news",
    );
    expect(subscribeCode("curl", { ...scene, since: "e-1" })).toBe(
      "curl -N -H 'Accept: text/event-stream' 'http://localhost:9090/topics/news?since=e-1'",
    );
    expect(publishCode("curl", scene)).toBe(
      "curl -d hello http://localhost:9090/topics/news".replace("hello", "'hello'"),
    );
    expect(
      publishCode("curl", { ...scene, isJson: true, text: "[1]", attributes: { type: "a.b" }, ends: true }),
    ).toBe("curl -H 'ce-type: a.b' --json '[1]' 'http://localhost:9090/topics/news?end='");
  });

  test("name the token and never contain it", () => {
    const withToken = { ...scene, hasToken: true };
    expect(subscribeCode("curl", withToken)).toContain('-H "Authorization: Bearer $TOKEN"');
    expect(subscribeCode("socket", withToken)).toContain('"bearer." + token');
  });

  test.skipIf(lacks("curl"))(
    "send the exact text, also with characters that a shell or curl treats specially",
    async () => {
      const seen: string[] = [];
      await using echo = Bun.serve({
        port: 0,
        fetch: async (request) => {
          seen.push(await request.text());
          return new Response();
        },
      });
      const texts = ["it's", '"$HOME" `id` \\ !', "@/etc/passwd", "a\nb", "你好 & <b>", "-x"];
      for (const text of texts) {
        const command = publishCode("curl", { ...scene, http: new URL("/topics/news", echo.url), text });
        await Bun.spawn(["sh", "-c", command], { stdin: "ignore", stderr: "ignore", stdout: "ignore" })
          .exited;
      }
      expect(seen).toEqual(texts);
    },
  );

  test("in JavaScript parse", () => {
    const transpiler = new Bun.Transpiler({ loader: "js" });
    for (const dialect of ["socket", "eventSource", "client"] as const) {
      for (const hasToken of [false, true]) {
        const odd = { ...scene, hasToken, text: 'it\'s `x` "q"', since: "e-1" };
        expect(() => transpiler.transformSync(subscribeCode(dialect, odd))).not.toThrow();
        expect(() => transpiler.transformSync(publishCode(dialect, odd))).not.toThrow();
      }
    }
  });
});

test("the keys of the page are those of a snapshot once it is whole, and at most 500", () => {
  const keys = new Keys();
  const entry = (data: string): Entry => ({ kind: "received", time: 0, data });
  const shown = () => Object.fromEntries([...keys.rows].map(([name, { data }]) => [name, data]));
  keys.changed("a", "x", entry("1"));
  keys.changed("ab", "x", entry("2"));
  keys.gap("a");
  keys.changed("a", "y", entry("3"));
  keys.changed("ab", "z", entry("4"));
  expect(shown()).toEqual({ "a x": "1", "ab x": "2", "ab z": "4" });
  keys.live("a");
  keys.changed("ab", "z", undefined);
  expect(shown()).toStrictEqual({ "ab x": "2", "a y": "3" });
  for (let count = 0; count < 600; count++) keys.changed("a", String(count), entry(""));
  keys.changed("a", "y", entry("5"));
  expect([keys.rows.size, shown()["a y"]]).toEqual([500, "5"]);
});

test("every text is there in Chinese, and none is left in English", () => {
  const same = ["dialects", "forms", "asJson"];
  for (const [name, text] of Object.entries(english)) {
    const translated = chinese[name as keyof typeof english];
    expect(typeof translated).toBe(typeof text);
    if (!same.includes(name) && typeof text === "string") expect(translated).not.toBe(text);
    if (typeof text === "object") expect(Object.keys(translated)).toEqual(Object.keys(text));
  }
  expect(chinese.reason("The token has expired.")).toBe("令牌已过期。");
  const detail = "The body has the type application/json and is not JSON from column 1 on.";
  expect(chinese.reason(detail)).toBe("内容的类型是 application/json，但从第 1 列起不是 JSON。");
  expect(chinese.reason("something new")).toBe("something new");
});
