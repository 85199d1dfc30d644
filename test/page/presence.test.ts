/** Who is here, in the topics panel of the page. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { makeToken } from "../../src/command/token.ts";
import { SharedBrowser, type View } from "../support/browser.ts";
import { spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { lacks } from "../support/tool.ts";
import { openStreamAt, type StreamClient } from "../support/topics.ts";

setDefaultTimeout(120_000);

const { open } = new SharedBrowser("topics");
const rooms = ["--presence", "room/*", "--presence-grace", "1s"];
const server = sharedServer(rooms);

let roomsUsed = 0;
const newRoom = (): string => `room/${++roomsUsed}`;

/** Resolves when the panel shows these members and no other, in this order. */
async function shows(view: View, ...names: string[]): Promise<void> {
  const items = names.map((name) => `${RegExp.escape(name)}since \\d+:\\d\\d [AP]M`).join("");
  await view
    .part("here")
    .locator("ul")
    .filter({ hasText: new RegExp(`^${items}$`) })
    .waitFor();
}

const heading = (view: View, text: string): Promise<void> =>
  view.part("here").getByRole("heading", { name: text, exact: true }).waitFor();

const enter = (topic: string, name: string, { url } = server): Promise<StreamClient> =>
  openStreamAt({ url }, `/topics/${topic}?member=${name}`);

async function joinAs(view: View, name: string): Promise<void> {
  await view.part("name").fill(name);
  await view.part("join").click();
  await view
    .part("address")
    .filter({ hasText: `member=${name}` })
    .waitFor();
}

describe.skipIf(lacks("chromium"))("who is here", () => {
  test("is shown beside the log, with their number, and who comes and leaves", async () => {
    const topic = newRoom();
    await using ann = await enter(topic, "ann");
    await using view = await open({ hash: `#topics=${topic}` }, server.url);
    await shows(view, "ann");
    await heading(view, "1 member is here");
    await using bob = await enter(topic, "<i>bob");
    await shows(view, "ann", "<i>bob");
    await heading(view, "2 members are here");
    await ann[Symbol.asyncDispose]();
    await shows(view, "<i>bob");
    await bob[Symbol.asyncDispose]();
    await heading(view, "No member is here");
    expect(view.complaints).toEqual([]);
  });

  test("has a person once who has two tabs, until both are gone", async () => {
    const topic = newRoom();
    await using view = await open({ hash: `#topics=${topic}` }, server.url);
    await heading(view, "No member is here");
    await joinAs(view, "me");
    await using ann = await enter(topic, "ann");
    await using otherTab = await enter(topic, "me");
    await shows(view, "meyou", "ann");
    await otherTab[Symbol.asyncDispose]();
    await ann[Symbol.asyncDispose]();
    // Ann has left, so the other tab, which closed before, is no leaving.
    await shows(view, "meyou");
    await view.part("join").filter({ hasText: "Leave" }).click();
    await heading(view, "No member is here");
  });

  test("is not shown where the members are not known, and costs no error in the console", async () => {
    await using view = await open({}, server.url);
    const asked = view.page.waitForEvent("websocket", (one) => one.url().includes("/presence/news"));
    await view.part("subscribe").click();
    const socket = await asked;
    if (!socket.isClosed()) await socket.waitForEvent("close");
    await view.part("topic").fill("room/1,news");
    await view.part("subscribe").click();
    await view.entry("note", "Subscribed to room/1, news").waitFor();
    expect(await view.part("here").count()).toBe(0);
    expect(view.sockets.filter((url) => url.includes("/presence/")).length).toBe(1);
    expect(view.complaints).toEqual([]);
  });

  test("is not asked for where the server has none", async () => {
    await using view = await open({ hash: "#topics=room/1" });
    await view.entry("note", "Subscribed to room/1").waitFor();
    expect(await view.part("here").count()).toBe(0);
    expect(view.sockets.filter((url) => url.includes("/presence/"))).toEqual([]);
    expect(view.complaints).toEqual([]);
  });

  test("stays as it was while the server is away, and says so, until the new list is whole", async () => {
    await using first = await spawnServer(rooms);
    await using ann = await enter("room/1", "ann", first);
    await using view = await open({ hash: "#topics=room/1" }, first.url);
    await shows(view, "ann");
    first.process.kill("SIGKILL");
    await heading(view, "1 member is here when the line was lost");
    await shows(view, "ann");
    await using second = await spawnServer([...rooms, "--port", first.url.port]);
    await using _ = await enter("room/1", "bob", second);
    await shows(view, "bob");
    await heading(view, "1 member is here");
    expect(ann.response.status).toBe(200);
  });
});

describe.skipIf(lacks("chromium"))("on a server with keys, who is here", () => {
  const secret = "a secret of more than thirty-two characters";
  const token = (subject: string, claims: { member?: object; presence?: string[] }): Promise<string> =>
    makeToken({ secret, subscribe: ["room/*"], publish: [], end: [], ttlSeconds: 600, subject, ...claims });

  test("has the names of their tokens, and is shown only to those who may read it", async () => {
    await using guarded = await spawnServer([...rooms, "--jwt-secret", secret]);
    const headers = { Authorization: `Bearer ${await token("u-2", { member: { name: "Bob" } })}` };
    await using _ = await openStreamAt(guarded, "/topics/room/1", headers);
    await using view = await open({ hash: "#topics=room/1" }, guarded.url);
    await useToken(view, await token("u-1", { member: { name: "Ann" }, presence: ["room/*"] })); // The page asks for it.
    await shows(view, "Bob", "Ann");
    expect(await view.part("name").count()).toBe(0);
    await view.page.locator('[data-part="token"]').click();
    await useToken(view, await token("u-1", {}));
    await view.part("here").waitFor({ state: "detached" });
    await view.pill("Open");
  });
});

async function useToken(view: View, token: string): Promise<void> {
  await view.page.locator('[data-part="tokenText"]').fill(token);
  await view.page.locator('[data-part="useToken"]').click();
}
