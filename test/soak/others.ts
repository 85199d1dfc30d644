/** The other loads: echoes, slow readers, refused requests, dropped connections, and topics that are used once. */
import { handshakeHeaders, RawSocket, request } from "../support/raw-socket.ts";
import { Inbox, within } from "../support/wait.ts";
import { publishByHttp } from "./publishers.ts";
import { metrics } from "./samples.ts";
import { bearer, repeat, type Stage } from "./stage.ts";

export async function echo(stage: Stage): Promise<void> {
  const { server, tally, random } = stage;
  const socket = new WebSocket(server.socketUrl());
  const answers = new Inbox<string>();
  const over = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  socket.onopen = () => opened.resolve();
  socket.onmessage = ({ data }) => answers.put(String(data));
  socket.onclose = () => over.resolve();
  await within(opened.promise, "an echo line to open");
  await repeat(stage, "an echo line", 0.5, async () => {
    const text = random.chance(0.5) ? "ping" : "e".repeat(random.below(2000));
    socket.send(text);
    const answer = await answers.take("an echo");
    if (answer === (text === "ping" ? "pong" : text)) tally.echoes++;
    else tally.fault(`${text.length} characters came back as ${answer.length}`);
  });
  socket.close();
  await within(over.promise, "an echo line to close");
}

const floodTopic = "open/flood";
const floodText = "f".repeat(64 * 1024);

/** More than the kernel buffers of a loopback connection hold. */
const floodMessagesMax = 400;

/** A reader that stops reading until it is cut, and then must find the end of its connection. */
export async function readSlowly(stage: Stage): Promise<void> {
  const { server, tally } = stage;
  let round = 0;
  await repeat(stage, "a slow reader", 15, async () => {
    const isStream = round++ % 2 === 1;
    using socket = await RawSocket.connect(server.url);
    const headers = isStream ? { Accept: "text/event-stream" } : handshakeHeaders;
    socket.write(request("GET", `/topics/${floodTopic}`, headers));
    await socket.read("HTTP/1.1 101".length);
    socket.pause();
    const before = (await metrics(server))('longwire_cut_total{reason="slow"}');
    for (let sent = 1; ; sent++) {
      await publishByHttp(stage, floodTopic, floodText);
      if (sent % 20 > 0) continue;
      if ((await metrics(server))('longwire_cut_total{reason="slow"}') > before) break;
      if (sent >= floodMessagesMax) throw new Error(`${sent} messages did not get a slow reader cut`);
    }
    socket.resume();
    await within(socket.ended, "a cut line to end");
    tally.slowReaders++;
  });
}

/** Requests that the server must refuse, with the status. */
export const refusals: readonly {
  readonly what: string;
  readonly status: number;
  readonly init: RequestInit;
  path: string;
}[] = [
  { what: "a wrong token", status: 401, path: "closed/0", init: { headers: bearer("no token of ours") } },
  { what: "no token", status: 401, path: "open/0", init: { method: "POST", body: "x" } },
  {
    what: "a token of another secret",
    status: 401,
    path: "open/0",
    init: { headers: bearer("eyJhbGciOiJIUzI1NiJ9.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") },
  },
  { what: "a topic with ..", status: 400, path: "open/%2e%2e%2fx", init: {} },
  { what: "a malformed since", status: 400, path: "open/0?since=yesterday", init: {} },
  {
    what: "another origin",
    status: 403,
    path: "open/0",
    init: { headers: { Origin: "https://evil.example" } },
  },
  { what: "another method", status: 405, path: "open/0", init: { method: "PUT" } },
];

export async function beRefused(stage: Stage): Promise<void> {
  const { server, tally, random } = stage;
  await repeat(stage, "a refused request", 0.5, async () => {
    const { what, status, path, init } = random.pick(refusals);
    const response = await fetch(`${server.url}topics/${path}`, init);
    await response.bytes();
    if (response.status === status) tally.refused++;
    else tally.fault(`${what} was answered ${response.status}, not ${status}`);
  });
}

/** Many connections at once that are dropped at different moments. */
export async function dropLines(stage: Stage): Promise<void> {
  const { server, tally, random } = stage;
  await repeat(stage, "a dropped line", 5, async () => {
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        using socket = await RawSocket.connect(server.url);
        const path = random.pick(["/ping", "/topics/open/0", `/topics/open/dropped/${random.below(20)}`]);
        const isStream = path !== "/ping" && random.chance(0.3);
        const head = request("GET", path, isStream ? { Accept: "text/event-stream" } : handshakeHeaders);
        socket.write(random.chance(0.2) ? head.slice(0, random.below(head.length)) : head);
        await Bun.sleep(random.below(300));
        tally.dropped++;
      }),
    );
  });
}

/** Topics that are used once. */
export async function leaveTopics(stage: Stage): Promise<void> {
  await repeat(stage, "a topic used once", 0.2, async () => {
    await publishByHttp(stage, `open/passing/${stage.tally.passingTopics}`, "once");
    stage.tally.passingTopics++;
  });
}
