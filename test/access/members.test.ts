/** Who is a member, and who may read it: the claims `member` and `presence`, and what `authorize` returns. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Authorize, createServer, type LongwireServer, type Options } from "../../src/longwire.ts";
import { serveHere } from "../support/command-line.ts";
import { followPresence, presenceOf } from "../support/presence.ts";
import { recordingLog } from "../support/recording-log.ts";
import { bearer, sign } from "../support/tokens.ts";
import { openSocketAt, openStream, openTopic, post } from "../support/topics.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const secret = "the secret of tokens that is in use";
const apiKey = "the-key-of-the-backend";
const rooms = ["--presence", "room/*", "--jwt-secret", secret, "--api-key", apiKey];

/** Nobody leaves while a test runs. */
const patient = await serveHere([...rooms, "--presence-grace", "10m", "--public", "room/*"]);
const quick = await serveHere([...rooms, "--presence-grace", "1s"]);
const oneIssuer = await serveHere([...rooms, "--jwt-issuer", "https://a.example"]);
const twoIssuers = await serveHere([...rooms, "--jwt-issuer", "https://a.example,https://b.example"]);

afterAll(() =>
  Promise.all([patient, quick, oneIssuer, twoIssuers].map((server) => server[Symbol.asyncDispose]())),
);

let named = 0;
const newRoom = (): string => `room/${++named}`;

const backend = bearer(apiKey);
const everyRoom = { subscribe: ["room/*"] };

/** The headers of a token with the claims, which may subscribe to every room. */
const holder = async (claims: object): Promise<Record<string, string>> =>
  bearer(await sign({ ...everyRoom, ...claims }, secret));

describe("the claim member", () => {
  test("makes a line a member by its sub, with what it shows; without it a line is not seen", async () => {
    const topic = newRoom();
    await using events = await followPresence(patient, topic, backend);
    const lines = [
      { sub: "ann", member: { name: "Ann", colour: "紅" } },
      ...[{}, { member: false }, { member: null }].map((claims) => ({ sub: "eve", ...claims })),
      { sub: "bob", member: true },
    ];
    const opened = [];
    for (const claims of lines) opened.push(await openTopic(patient, topic, [], await holder(claims)));
    expect([await events.next(), await events.next()]).toEqual([
      '+ann {"name":"Ann","colour":"紅"}',
      "+bob true",
    ]);
    for (const line of opened) line.terminate();
  });

  test("of the token issued last counts: a later one is an update, an earlier one nothing", async () => {
    const topic = newRoom();
    await using events = await followPresence(patient, topic, backend);
    const enter = async (sub: string, iat: number, name: string) =>
      await openStream(patient, topic, await holder({ sub, iat, member: { name } }));
    await using first = await enter("ann", 100, "Ann");
    expect(await events.next()).toBe('+ann {"name":"Ann"}');
    await using later = await enter("ann", 200, "Anna");
    expect(await events.next()).toBe('~ann {"name":"Anna"}');
    await using earlier = await enter("ann", 150, "Annie");
    await using sentinel = await enter("bob", 1, "Bob");
    expect(await events.next()).toBe('+bob {"name":"Bob"}');
    for (const { response } of [first, later, earlier, sentinel]) expect(response.status).toBe(200);
  });

  test("that the next token has no more lets the member leave after the grace", async () => {
    const topic = newRoom();
    await using events = await followPresence(quick, topic, backend);
    using line = await openTopic(quick, topic, [], await holder({ sub: "ann", member: true }));
    expect(await events.next()).toBe("+ann true");
    using returned = await openTopic(quick, topic, [], await holder({ sub: "ann" }));
    line.terminate();
    expect(await events.next()).toBe("-ann");
    expect(returned.protocol).toBe("");
  });

  for (const member of ["yes", 1, ["a"]]) {
    test(`that is ${JSON.stringify(member)} is 401, in words`, async () => {
      const answer = await post(patient, newRoom(), "x", await holder({ sub: "ann", member }));
      expect([answer.status, await answer.json()]).toEqual([
        401,
        expect.objectContaining({ detail: "The token's member must be true or an object." }),
      ]);
    });
  }

  test("is shown with the issuer, unless all tokens have the same", async () => {
    const issued = { iss: "https://a.example", sub: "ann", member: true };
    for (const [server, claims, key] of [
      [oneIssuer, issued, "ann"],
      [twoIssuers, issued, "https://a.example#ann"],
      [twoIssuers, { ...issued, iss: "https://b.example" }, "https://b.example#ann"],
      [patient, issued, "https://a.example#ann"],
      [patient, { sub: "ann", member: true }, "ann"],
    ] as const) {
      const topic = newRoom();
      await using events = await followPresence(server, topic, backend);
      await using _ = await openStream(server, topic, await holder(claims));
      expect(await events.next()).toBe(`+${key} true`);
    }
  });

  test("that cannot be shown is none: the line opens, and the log says why once, without the token", async () => {
    const log = recordingLog();
    const options = { port: 0, presence: ["room/*"], jwtSecrets: [secret], apiKeys: [apiKey], log };
    await using own = await createServer(options);
    const socketUrl = (path = ""): string => `ws://${own.url.host}${path}`;
    const topic = newRoom();
    await using events = await followPresence(own, topic, backend);
    for (const claims of [
      { sub: "eve", member: { text: "x".repeat(1014) } },
      { sub: "e".repeat(256), member: true },
      { sub: "e\u0007", member: true },
      { member: true },
      { sub: "ann", member: { text: "x".repeat(1013) } },
    ]) {
      using line = await openTopic({ socketUrl }, topic, [], await holder(claims));
      expect(line.protocol).toBe("");
    }
    expect(await events.next()).toStartWith('+ann {"text":"xxx');
    const logged = log.lines.filter(({ message }) => message.includes("member"));
    expect(logged).toHaveLength(1);
    expect(JSON.stringify(logged)).toContain("at most 1024 bytes");
    expect(JSON.stringify(logged)).not.toContain("xxx");
  });

  test("is the only way to a member where there is a key: ?member= is 400 and names the claim", async () => {
    const headers = { ...(await holder({ sub: "ann" })), Accept: "text/event-stream" };
    const answer = await fetch(new URL(`/topics/${newRoom()}?member=bob`, patient.url), { headers });
    expect([answer.status, await answer.json()]).toMatchObject([
      400,
      { detail: expect.stringContaining('the claim "member"') },
    ]);
  });
});

describe("to read who is on a topic", () => {
  const allowed = { presence: ["room/a", "room/b/*"] };
  for (const [who, claims, topic, status] of [
    ["a token with the claim presence", allowed, "room/a", 200],
    ["a token with a pattern of it", allowed, "room/b/1", 200],
    ["a token with another topic in it", allowed, "room/c", 403],
    [
      "a token that may subscribe, publish and end",
      { publish: ["*"], end: ["*"], subscribe: ["*"] },
      "room/a",
      403,
    ],
    ["nobody, of a topic that is public", undefined, "room/a", 401],
  ] as const) {
    test(`is for ${who}: ${status}`, async () => {
      const headers = claims === undefined ? {} : await holder(claims);
      for (const query of ["", "?since=all"])
        expect((await presenceOf(patient, topic + query, headers))[0]).toBe(status);
    });
  }

  test("is for the API key; of several topics each must be allowed", async () => {
    expect((await presenceOf(patient, "room/a,room/c", backend))[0]).toBe(200);
    expect((await presenceOf(patient, "room/a,room/c", await holder(allowed)))[0]).toBe(403);
  });

  test("a page is told 4403 on a WebSocket, in words", async () => {
    const headers = { ...(await holder({})), Origin: "http://localhost:1234" };
    using client = await openSocketAt(patient, "/presence/room/a", ["cloudevents.json"], headers);
    const reason = "Not allowed to read the presence of room/a.";
    expect(await within(client.closed, "the refusal")).toEqual({ code: 4403, reason });
  });

  test("needs a claim that is a list of topics", async () => {
    expect((await presenceOf(patient, "room/a", await holder({ presence: "room/a" })))[0]).toBe(401);
  });
});

describe("authorize", () => {
  const serve = (options: Partial<Options>): Promise<LongwireServer> =>
    createServer({ port: 0, logLevel: "silent", presence: ["room/*"], ...options });
  const follow = (own: LongwireServer, topic: string) => followPresence(own, topic, { "X-User": "reader" });
  const openAs = (own: LongwireServer, topic: string, user: string) =>
    openStream(own, topic, { "X-User": user });

  test("is asked with the action presence, and names members for the topic that it was asked for", async () => {
    const asked: string[] = [];
    const authorize: Authorize = (request, { topic, action }) => {
      const subject = request.headers.get("x-user") ?? "";
      asked.push(`${subject} ${action} ${topic}`);
      return topic === "room/1" ? { subject, member: { name: subject.toUpperCase() } } : { subject };
    };
    await using own = await serve({ authorize });
    await using events = await follow(own, "room/1,room/2");
    await using line = await openStream(own, "room/2,room/1?format=cloudevents", { "X-User": "ann" });
    await using other = await openAs(own, "room/1", "bob");
    expect([await events.next(), await events.next()]).toEqual([
      '+ann {"name":"ANN"}',
      '+bob {"name":"BOB"}',
    ]);
    expect(asked.slice(0, 2)).toEqual(["reader presence room/1", "reader presence room/2"]);
    expect([line.response.status, other.response.status]).toEqual([200, 200]);
    expect((await presenceOf(own, "room/2", { "X-User": "reader" }))[1]).toMatchObject({
      topics: [{ members: 0 }],
    });
  });

  test("that refuses the action presence is 403", async () => {
    await using own = await serve({ authorize: (_, { action }) => action === "subscribe" });
    expect((await presenceOf(own, "room/1"))[0]).toBe(403);
  });

  test("leaves the member of a token where it only allows the topic", async () => {
    const authorize: Authorize = (_, { topic }) => topic === "room/1";
    await using own = await serve({ authorize, jwtSecrets: [secret] });
    await using events = await followPresence(own, "room/1");
    const headers = bearer(await sign({ sub: "ann", member: true }, secret));
    await using _ = await openStream(own, "room/1", headers);
    expect(await events.next()).toBe("+ann true");
  });

  for (const [name, member, subject, said] of [
    ["too large", { text: "x".repeat(1024) }, "ann", "at most 1024 bytes"],
    ["of another type", "yes", "ann", "neither true nor an object"],
    ["without a subject", true, "", "without a subject"],
  ] as const) {
    test(`that returns a member ${name} is a fault of the application: 500, with the cause in the log`, async () => {
      const log = recordingLog();
      const authorize = (() => ({ subject, member })) as unknown as Authorize;
      await using own = await serve({ authorize, log });
      expect((await fetch(new URL("/topics/room/1", own.url))).status).toBe(500);
      expect(String(log.errors()[0])).toContain(said);
    });
  }
});
