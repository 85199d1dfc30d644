/** Opens each transport once and looks at what is in the way: proxies that refuse, buffer or cut. */
import { readEvents } from "../client/transport.ts";
import { checkPatienceSeconds } from "../settings/limits.ts";
import { type CheckTarget, detailOf } from "./check-target.ts";

/** What one check found. */
export interface Finding {
  readonly check: string;
  readonly isFine: boolean;
  /** It was left out. */
  readonly isLeftOut?: true;
  /** For a person. */
  readonly text: string;
  /** For a program. Times are in milliseconds. */
  readonly figures?: Figures;
}

type Figures = Readonly<Record<string, number | string | boolean>>;

export const fine = (check: string, text: string, figures?: Figures): Finding => ({
  ...{ check, isFine: true, text },
  ...(figures && { figures }),
});

export const wrong = (check: string, text: string, figures?: Figures): Finding => ({
  ...fine(check, text, figures),
  isFine: false,
});

const milliseconds = (time: number): number => Number(time.toFixed(2));

/** The text of an error and of its cause. */
export const causeOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** @throws {Error} `waited … for …` */
async function within<Value>(
  promise: Promise<Value>,
  what: string,
  seconds = checkPatienceSeconds,
): Promise<Value> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${seconds} s for ${what}`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a Longwire answers there, and how long a connection takes. */
export async function checkConnect(target: CheckTarget): Promise<Finding> {
  const begun = performance.now();
  const protocol = await within(openConnection(target), "a connection");
  const connected = milliseconds(performance.now() - begun);
  const answer = await within(target.fetch(target.pingUrl), "an answer to GET /ping");
  const body = await answer.text();
  const figures = { milliseconds: connected, status: answer.status };
  if (answer.status === 401 || answer.status === 403) {
    const text = `GET ${target.pingUrl} is refused with ${answer.status}: ${detailOf(body)} (give --token; a proxy may ask for it, too)`;
    return wrong("connect", text, figures);
  }
  if (answer.status !== 426 || !body.includes("WebSocket")) {
    const text = `this is no Longwire: GET ${target.pingUrl} was answered with ${answer.status}, not with 426`;
    return wrong("connect", text, figures);
  }
  const text = `${connected} ms${protocol === undefined ? "" : ` with TLS (${protocol})`}`;
  return fine("connect", text, figures);
}

/** @returns the version of TLS, if it is used */
async function openConnection({ base, isSecure }: CheckTarget): Promise<string | undefined> {
  const { hostname, port } = new URL(base);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  if (isSecure) {
    const [{ connect }, { isIP }] = await Promise.all([import("node:tls"), import("node:net")]);
    const name = isIP(host) ? {} : { servername: host }; // TLS has no names for addresses.
    const socket = connect({ host, port: Number(port || 443), ...name }, () => {
      resolve(socket.getProtocol() ?? "TLS");
      socket.destroy();
    });
    socket.on("error", reject);
  } else {
    const { connect } = await import("node:net");
    const socket = connect({ host, port: Number(port || 80) }, () => {
      resolve(undefined);
      socket.destroy();
    });
    socket.on("error", reject);
  }
  return await promise;
}

const roundTrips = 20;

/** Opens /ping as a WebSocket and measures round trips. */
export async function checkWebSocket(target: CheckTarget): Promise<Finding> {
  const begun = performance.now();
  const socket = target.socket(target.pingUrl);
  try {
    await within(opened(socket), "the WebSocket to open");
    const openMilliseconds = milliseconds(performance.now() - begun);
    const times: number[] = [];
    for (let trip = 0; trip < roundTrips; trip++) times.push(await roundTrip(socket));
    const sorted = times.toSorted((a, b) => a - b);
    const median = milliseconds(sorted[Math.floor(roundTrips / 2)] ?? 0);
    const most = milliseconds(sorted.at(-1) ?? 0);
    const text = `open in ${openMilliseconds} ms, round trip ${median} ms (median of ${roundTrips}, at most ${most} ms)`;
    return fine("WebSocket", text, { openMilliseconds, median, most });
  } catch (error) {
    const reason = (await refusedPingOf(target)) ?? `${causeOf(error)}; ${upgradeHint}`;
    return wrong("WebSocket", reason);
  } finally {
    socket.terminate();
  }
}

const upgradeHint =
  "GET /ping was answered, so something in the way may not pass the headers Upgrade and Connection";

/** Why the server refuses /ping, if it does: a refused handshake says nothing. */
async function refusedPingOf(target: CheckTarget): Promise<string | undefined> {
  const leaving = new AbortController();
  const answer = await within(target.openEvents(target.pingUrl, leaving.signal), "an answer to GET /ping");
  const isRefused = answer.status === 401 || answer.status === 403;
  const reason = isRefused
    ? `/ping is refused with ${answer.status}: ${detailOf(await answer.text())} (--token)`
    : undefined;
  leaving.abort();
  return reason;
}

/** @throws {Error} with the code and reason of a socket that closes before it opens */
function opened(socket: WebSocket): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.onopen = () => resolve();
  socket.onclose = ({ code, reason }) =>
    reject(new Error(`it was refused or closed with ${code} ${reason}`.trimEnd()));
  return promise;
}

async function roundTrip(socket: WebSocket): Promise<number> {
  const answered = Promise.withResolvers<void>();
  socket.onmessage = () => answered.resolve();
  socket.onclose = ({ code }) => answered.reject(new Error(`it was closed with ${code}`));
  const begun = performance.now();
  socket.send("ping");
  await within(answered.promise, "an answer to ping");
  return performance.now() - begun;
}

/** Server-sent events of /ping that are waited for: with one a second they show three intervals. */
const eventsWatched = 4;

/** An event may be so much later, by the first one's arrival, before something in the way is said to hold it back. */
const delayToleratedMilliseconds = 700;

/** Opens /ping as an event stream and looks at whether its events arrive when they were sent. */
export async function checkEvents(target: CheckTarget): Promise<Finding> {
  const finding = await watchEvents(target);
  // A busy machine is late at times. What holds events back does so again.
  return finding.figures?.arrived === eventsWatched ? await watchEvents(target) : finding;
}

async function watchEvents(target: CheckTarget): Promise<Finding> {
  const leaving = new AbortController();
  const begun = performance.now();
  const arrivals: { readonly sent: number; readonly arrived: number }[] = [];
  const seen = Promise.withResolvers<undefined>();
  const buffered = (text: string): Finding =>
    wrong("events", `${text}: something in the way buffers event streams`, {
      isBuffered: true,
      arrived: arrivals.length,
    });
  const read = async (): Promise<Finding | undefined> => {
    const answer = await target.openEvents(target.pingUrl, leaving.signal);
    if (answer.status !== 200) {
      const text = `GET /ping was answered with ${answer.status}: ${detailOf(await answer.text())}`;
      return wrong("events", text);
    }
    await readEvents(answer, (events) => {
      for (const data of events.slice(0, eventsWatched - arrivals.length))
        arrivals.push({ sent: Date.parse(data), arrived: performance.now() });
      if (arrivals.length === eventsWatched) seen.resolve(undefined);
    });
    const text = `the stream ended after ${arrivals.length} events: something in the way cuts it`;
    return wrong("events", text);
  };
  try {
    const failure = await within(Promise.race([seen.promise, read()]), "four events");
    if (failure) return failure;
  } catch (error) {
    if (arrivals.length > 0) return wrong("events", causeOf(error));
    return buffered(`nothing arrived in ${checkPatienceSeconds} s`);
  } finally {
    leaving.abort();
  }
  const [first] = arrivals;
  if (!first) return buffered("nothing arrived");
  // Clocks may differ, so only differences are compared: a stream that is held back gives several events at once.
  const delays = arrivals.map(({ sent, arrived }) => arrived - first.arrived - (sent - first.sent));
  const uneven = milliseconds(Math.max(...delays) - Math.min(...delays));
  if (uneven > delayToleratedMilliseconds)
    return buffered(`events came up to ${Math.round(uneven)} ms late, and together`);
  const firstMilliseconds = milliseconds(first.arrived - begun);
  const text = `first after ${firstMilliseconds} ms, then one each second: nothing in the way buffers`;
  return fine("events", text, { firstMilliseconds, isBuffered: false });
}

/** Holds a poll, publishes, and looks at when the poll is answered. */
export async function checkPoll(target: CheckTarget): Promise<Finding> {
  try {
    const start = await within(target.fetch(target.topicUrl("?since=-")), "a poll");
    const body = await start.text();
    if (start.status !== 200) {
      const text = `GET /topics/${target.topic} was answered with ${start.status}: ${detailOf(body)}`;
      return wrong("poll", text);
    }
    const cursor = start.headers.get("Longwire-Cursor");
    if (cursor === null) return wrong("poll", "the answer has lost its header Longwire-Cursor");
    const held = target.fetch(target.topicUrl(`?since=${cursor}&wait=${checkPatienceSeconds}s`));
    const begun = performance.now();
    await within(target.publish("a message for a poll", crypto.randomUUID()), "an answer to POST");
    const published = milliseconds(performance.now() - begun);
    const answer = await within(held, "the answer to a held poll");
    const after = milliseconds(performance.now() - begun);
    const events = (await answer.json()) as unknown[];
    if (events.length !== 1)
      throw new Error(`a held poll was answered with ${events.length} messages in place of 1`);
    const text = `published in ${published} ms, a held poll was answered after ${after} ms`;
    return fine("poll", text, { publishMilliseconds: published, answerMilliseconds: after });
  } catch (error) {
    return wrong("poll", causeOf(error));
  }
}

/** Opens the event stream over HTTP/2, where TLS offers it. A server or proxy without it is no fault. */
export async function checkHttp2(target: CheckTarget): Promise<Finding> {
  const { connect } = await import("node:http2");
  const { origin, pathname } = new URL(target.pingUrl);
  const session = connect(origin);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const begun = performance.now();
  session.on("error", reject);
  try {
    session.on("connect", (_, socket) => {
      if ("alpnProtocol" in socket && socket.alpnProtocol !== "h2") reject(new NotOffered());
    });
    const stream = session.request({ ":path": pathname, accept: "text/event-stream" });
    stream.on("error", reject);
    stream.on("data", () => resolve(performance.now() - begun));
    const firstMilliseconds = milliseconds(await within(promise, "the first event over HTTP/2"));
    const text = `the first event after ${firstMilliseconds} ms`;
    return fine("HTTP/2", text, { isOffered: true, firstMilliseconds });
  } catch (error) {
    // A server that speaks only HTTP/1.1 ends the handshake, each in its own way.
    if (error instanceof NotOffered || /alpn|protocol|h2|reset|closed/i.test(causeOf(error)))
      return fine("HTTP/2", "not offered", { isOffered: false });
    return wrong("HTTP/2", causeOf(error));
  } finally {
    session.destroy();
  }
}

class NotOffered extends Error {}

/** Holds a WebSocket and an event stream that carry only heartbeats. */
export async function checkIdle(
  target: CheckTarget,
  seconds: number,
  elapsed: (share: number) => void,
): Promise<Finding> {
  const begun = performance.now();
  const leaving = new AbortController();
  const socket = target.socket(target.pingUrl);
  const over = Promise.withResolvers<undefined>();
  const cut = (what: string): string =>
    `${what} was cut after ${((performance.now() - begun) / 1000).toFixed(1)} s of silence: raise the timeout of what is in the way, or lower --heartbeat-interval`;
  const socketCut = async (): Promise<string> => {
    await opened(socket);
    const { promise, resolve } = Promise.withResolvers<string>();
    socket.onclose = () => resolve(cut("the WebSocket"));
    return await promise;
  };
  const streamCut = async (): Promise<string> => {
    const answer = await target.openEvents(target.topicUrl(), leaving.signal);
    try {
      await readEvents(answer, () => undefined);
    } catch (error) {
      if (leaving.signal.aborted) return "";
      return `${cut("the event stream")} (${causeOf(error)})`;
    }
    return cut("the event stream");
  };
  const timer = setTimeout(() => over.resolve(undefined), seconds * 1000);
  const shown = setInterval(() => elapsed((performance.now() - begun) / 1000 / seconds), 250);
  try {
    const reason = await Promise.race([over.promise, socketCut(), streamCut()]);
    if (reason === undefined) return fine("idle", `silent lines stayed open for ${seconds} s`, { seconds });
    return wrong("idle", reason, { seconds: milliseconds((performance.now() - begun) / 1000) });
  } catch (error) {
    return wrong("idle", causeOf(error));
  } finally {
    clearTimeout(timer);
    clearInterval(shown);
    leaving.abort();
    socket.terminate();
  }
}
