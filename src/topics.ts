/** /topics/…: a topic is a URL. Here a request becomes a subscription, a publication or a look at what is there. */
import type { Server } from "bun";
import { BrokerUnavailable } from "./broker.ts";
import type { HandlerConfig } from "./config.ts";
import type { Connections } from "./connection.ts";
import { ControlEvents, closeCode, cloudEvent, type Encodings, subprotocols } from "./envelope.ts";
import { EventStream, type EventStreamHost, eventStreamHeaders } from "./event-stream.ts";
import type { NativeFanOut } from "./fan-out.ts";
import { chooseSubprotocol, refuseUpgrade, refuseVersion, upgrade, wantsWebSocket } from "./handshake.ts";
import { type Answer, methods, type ProblemStatus, problem, type RequestHandler } from "./http.ts";
import type { Hub } from "./hub.ts";
import type { Logger } from "./log.ts";
import { formatId } from "./message.ts";
import { publishBody, retryAfterSeconds } from "./publish.ts";
import type { Subscription } from "./subscription.ts";
import { RequestError, readTopics, readWishes, type Wish } from "./topic-request.ts";
import { cloudEventsForm, rawForm, TopicSocket, type TopicSocketHost } from "./topic-socket.ts";

/** What the endpoint is joined to. */
export interface TopicsHost {
  readonly config: HandlerConfig;
  readonly hub: Hub;
  readonly connections: Connections;
  readonly fanOut: NativeFanOut;
  readonly encodings: Encodings;
  readonly log: Logger;
}

const socketTopicsMax = 100;

/** A browser sends the ids of all of them back in one header. */
const streamTopicsMax = 20;

/** A refusal in both languages: of HTTP, and of a WebSocket that was opened to say it. */
interface Refusal {
  readonly status: ProblemStatus;
  readonly code: number;
  readonly detail: string;
}

/** @param path what stands before the topics' names, such as `/topics/` */
export function topicsEndpoint(host: TopicsHost, path: string): RequestHandler {
  const { config, hub, connections, fanOut, encodings, log } = host;

  const refusalOf = (error: unknown): Refusal => {
    if (error instanceof RequestError)
      return { status: 400, code: closeCode.policyViolation, detail: error.message };
    if (error instanceof BrokerUnavailable) {
      return { status: 503, code: closeCode.tryAgainLater, detail: "The broker is away; try again." };
    }
    log.error({ err: error }, "a request to a topic failed");
    return {
      status: 500,
      code: closeCode.serverFault,
      detail: "A fault of the server; its log has the cause.",
    };
  };
  const closeReason = (error: unknown): { code: number; reason: string } => {
    const { code, detail } = refusalOf(error);
    return { code, reason: detail };
  };
  // Enough to keep a line busy, little to hold for many at once; who has caught up must not be near its limit.
  const replayAheadBytes = Math.min(64 * 1024, config.bufferedBytesMax / 2);
  const socketHost: TopicSocketHost = {
    encodings,
    replayAheadBytes,
    publish: (topic, draft) => hub.publish(topic, draft),
    refusalOf: closeReason,
  };
  const streamHost: EventStreamHost = {
    connections,
    fanOut,
    encodings,
    bufferedBytesMax: config.bufferedBytesMax,
    replayAheadBytes,
    heartbeatIntervalSeconds: Math.min(config.heartbeatIntervalSeconds, streamIntervalSecondsMax),
    refusalOf: closeReason,
    cutSlow: () => log.info("a slow reader of an event stream is cut"),
  };

  const get = async (request: Request, server: Server<unknown>): Promise<Answer> => {
    const isSocket = wantsWebSocket(request);
    try {
      const url = new URL(request.url);
      const topics = readTopics(url, path, socketTopicsMax);
      if (isSocket) return await openSocket(request, server, readWishes(request, url, topics));
      if (request.headers.get("accept")?.includes("text/event-stream")) {
        return await openStream(request, server, url, readWishes(request, url, topics));
      }
      if (url.searchParams.has("since")) return await poll(hub, readWishes(request, url, topics));
      return await inspect(hub, topics);
    } catch (error) {
      const refusal = refusalOf(error);
      return isSocket ? refuseUpgrade(request, server, refusal) : refuse(refusal);
    }
  };

  const openSocket = async (
    request: Request,
    server: Server<unknown>,
    wishes: readonly Wish[],
  ): Promise<Answer> => {
    const badVersion = refuseVersion(request);
    if (badVersion) return badVersion;
    const subprotocol = chooseSubprotocol(request, Object.values(subprotocols));
    const isRaw = subprotocol !== subprotocols.cloudEvents;
    if (isRaw && wishes.length > 1) {
      throw new RequestError(
        "Several topics on a WebSocket need the subprotocol cloudevents.json, which names each message's.",
      );
    }
    const subscriptions = await openAll(hub, wishes);
    const gap = isRaw ? subscriptions[0]?.gap : undefined;
    if (gap) {
      closeSubscriptions(subscriptions);
      const detail = `Cannot continue ${gap.topic} after ${gap.requested}: messages are gone. Connect without since.`;
      return refuseUpgrade(request, server, { status: 410, code: closeCode.cannotResume, detail });
    }
    fanOut.addServer(server);
    const form = isRaw ? rawForm : cloudEventsForm(encodings);
    const answer = upgrade(request, server, new TopicSocket(socketHost, form, subscriptions), subprotocol);
    if (answer) closeSubscriptions(subscriptions); // It was not opened, so it will not close them.
    return answer;
  };

  const openStream = async (
    request: Request,
    server: Server<unknown>,
    url: URL,
    wishes: readonly Wish[],
  ): Promise<Response> => {
    const format = url.searchParams.get("format");
    if (format !== null && format !== "cloudevents")
      throw new RequestError('The only format is "cloudevents".');
    if (wishes.length > streamTopicsMax)
      throw new RequestError(`At most ${streamTopicsMax} topics go into one event stream.`);
    if (wishes.length > 1 && format === null) {
      throw new RequestError(
        "Several topics in one event stream need ?format=cloudevents, which names each message's.",
      );
    }
    const headers = { ...eventStreamHeaders, Vary: "Accept" };
    if (request.method === "HEAD") return new Response(null, { headers });
    let subscriptions: Subscription[];
    try {
      subscriptions = await openAll(hub, wishes);
    } catch (error) {
      if (!(error instanceof BrokerUnavailable)) throw error;
      // A browser never tries again after an error status, and this one is meant for now only.
      return new Response(`retry: ${retryAfterSeconds * 1000}\n\n`, { headers });
    }
    // Bun ends an answer in which nothing moves: one whose reader takes nothing, as a comment is written before that.
    server.timeout(
      request,
      streamHost.heartbeatIntervalSeconds + Math.min(config.heartbeatTimeoutSeconds, 120),
    );
    return new Response(new EventStream(streamHost, subscriptions, format !== null).body, { headers });
  };

  return methods({
    GET: get,
    POST: async (request) => {
      try {
        const topics = readTopics(new URL(request.url), path, socketTopicsMax);
        return await publishBody(request, topics, {
          hub,
          messageBytesMax: config.messageBytesMax,
          publisher: "",
        });
      } catch (error) {
        return refuse(refusalOf(error));
      }
    },
  });
}

/** Bun's longest timeout of an answer is 255 s, and a comment must come well before. */
const streamIntervalSecondsMax = 120;

function refuse({ status, detail }: Refusal): Response {
  return problem(status, detail, status === 503 ? { "Retry-After": String(retryAfterSeconds) } : {});
}

/** All of them, or an error and none. */
async function openAll(hub: Hub, wishes: readonly Wish[]): Promise<Subscription[]> {
  const opened = await Promise.allSettled(
    wishes.map(({ topic, since, requested }) => hub.open(topic, since, requested)),
  );
  const subscriptions = opened.filter((result) => result.status === "fulfilled").map(({ value }) => value);
  const failure = opened.find((result) => result.status === "rejected");
  if (!failure) return subscriptions;
  closeSubscriptions(subscriptions);
  throw failure.reason;
}

function closeSubscriptions(subscriptions: readonly Subscription[]): void {
  for (const subscription of subscriptions) subscription.close();
}

async function inspect(hub: Hub, topics: readonly string[]): Promise<Response> {
  const states = await hub.positions(topics);
  const found = topics.map((topic, index) => {
    const state = states[index];
    return {
      topic,
      position: state ? formatId(state.position) : null,
      retained: state?.retained ?? 0,
      subscribers: hub.subscriberCount(topic),
    };
  });
  return Response.json({ topics: found }, { headers: freshHeaders });
}

/** For answers that are old in the next moment, and another thing to who accepts an event stream. */
const freshHeaders = { "Cache-Control": "no-store", Vary: "Accept" };

async function poll(hub: Hub, wishes: readonly Wish[]): Promise<Response> {
  const batch = writeBatch(hub, wishes);
  let page = await batch.next(); // Read before the answer begins, so that a broker that is away is an error status.
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: async (controller) => {
      if (page.done) return controller.close();
      controller.enqueue(utf8.encode(page.value));
      page = await batch.next();
    },
    cancel: async () => void (await batch.return()),
  });
  return new Response(body, {
    headers: { ...freshHeaders, "Content-Type": "application/cloudevents-batch+json" },
  });
}

const utf8 = new TextEncoder();

/** A page at a time, each topic up to where it stood when it was first read. */
async function* writeBatch(hub: Hub, wishes: readonly Wish[]): AsyncGenerator<string, void, void> {
  const control = new ControlEvents();
  let separator = "[";
  const write = (event: string): string => {
    const text = separator + event;
    separator = ",";
    return text;
  };
  for (const wish of wishes) {
    if (!wish.since) continue;
    let { since, requested } = wish;
    let end: number | undefined;
    for (;;) {
      const history = await hub.read(wish.topic, since);
      if (!history) {
        // Nothing is there to continue with. To have asked for all of nothing is no loss.
        if (since.kind !== "all" && since.kind !== "time")
          yield write(control.gap({ topic: wish.topic, requested, from: undefined }));
        break;
      }
      const { complete, from, messages, position } = history;
      const gap = complete ? "" : write(control.gap({ topic: wish.topic, requested, from }));
      yield gap + messages.map((message) => write(cloudEvent(message))).join("");
      end ??= position.offset;
      const last = messages.at(-1);
      if (!last || last.offset >= end) break;
      since = { kind: "position", position: last };
      requested = formatId(last);
    }
  }
  yield separator === "[" ? "[]" : "]";
}
