/** How clients subscribe to topics: a GET becomes a WebSocket, an event stream or a poll. */
import type { Permissions } from "../access/permissions.ts";
import type { Connections } from "../connection/connections.ts";
import { answerEventStream } from "../connection/event-stream.ts";
import { chooseSubprotocol, type Upgrader, wantsWebSocket } from "../connection/handshake.ts";
import type { Openings } from "../connection/openings.ts";
import type { Reading } from "../connection/reading.ts";
import type { BufferLimits } from "../delivery/buffer-limits.ts";
import type { HeldBytes } from "../delivery/held-bytes.ts";
import type { NativeTopics } from "../delivery/native-topics.ts";
import type { TopicReaders } from "../delivery/topic-readers.ts";
import { acceptsGzip } from "../http/accept.ts";
import {
  eventStreamHeaders,
  gzipEventStreamHeaders,
  refuseStream,
  wantsEventStream,
} from "../http/event-stream.ts";
import { malformed, Refusal, type Refusals } from "../http/refusal.ts";
import type { Answer, RequestContext } from "../http/request-context.ts";
import { silentFor } from "../http/silence.ts";
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import type { HandlerConfig } from "../settings/config.ts";
import { pollWaitSecondsMax, streamIntervalSecondsMax, streamTopicsMax } from "../settings/limits.ts";
import type { Hub } from "../topic/hub.ts";
import type { Member } from "../topic/presence.ts";
import { Subscription } from "../topic/subscription.ts";
import { type Encodings, subprotocols } from "../wire/encodings.ts";
import { EventStream, type EventStreamDeps } from "./event-stream.ts";
import { noStoreHeaders, Poll, type PollDeps } from "./poll.ts";
import { readPollOptions, requireNoMistypedParameter, type TopicStart } from "./request.ts";
import {
  cloudEventsCodec,
  type PublishOfSocket,
  rawCodec,
  type SocketCodec,
  TopicSocket,
  type TopicSocketDeps,
} from "./socket.ts";
import { Turn } from "./turn.ts";

/** What it needs of the server. */
export interface SubscribingDeps {
  readonly config: HandlerConfig;
  readonly hub: Hub<TopicReaders>;
  readonly buffers: BufferLimits;
  readonly connections: Connections;
  readonly openings: Openings;
  readonly reading: Reading;
  readonly upgrader: Upgrader;
  readonly native: NativeTopics;
  readonly held: HeldBytes;
  readonly encodings: Encodings;
  readonly refusals: Refusals;
  readonly counters: Counters;
  readonly log: Logger;
}

/** What a GET asks for. All but an inspection, which is answered at once, are connections. */
export type Wanted = ConnectionWanted | "inspection";
export type ConnectionWanted = "socket" | "stream" | "poll";

/** The topics of a connection, and who asks for it. */
export interface Subscribed {
  readonly permissions: Permissions;
  readonly starts: readonly TopicStart[];
  /** Whom the connection stands for on a topic; left out, others do not see it. */
  readonly memberOn?: ((topic: string) => Member | undefined) | undefined;
}

/** What one endpoint offers its clients. */
export interface SubscribingOptions {
  /** Whether a WebSocket may get data alone, without the CloudEvents that name a key. */
  readonly hasRawForm: boolean;
  readonly publish: PublishOfSocket;
}

type Subscriptions = readonly Subscription<TopicReaders>[];

export class Subscribing {
  readonly #deps: SubscribingDeps;
  readonly #hasRawForm: boolean;
  readonly #socketDeps: TopicSocketDeps;
  readonly #cloudEventsCodec: SocketCodec;
  readonly #streamDeps: EventStreamDeps;
  readonly #pollDeps: PollDeps;

  constructor(deps: SubscribingDeps, { hasRawForm, publish }: SubscribingOptions) {
    this.#deps = deps;
    this.#hasRawForm = hasRawForm;
    const { config } = deps;
    const { replayAheadBytes, streamGatheredBytes } = deps.buffers;
    this.#socketDeps = { ...deps, replayAheadBytes, publish };
    this.#cloudEventsCodec = cloudEventsCodec(deps.encodings);
    this.#pollDeps = { ...deps, bufferedBytesMax: config.bufferedBytesMax };
    const heartbeatIntervalSeconds = Math.min(config.heartbeatIntervalSeconds, streamIntervalSecondsMax);
    this.#streamDeps = {
      ...deps,
      replayAheadBytes,
      gatheredBytesMax: streamGatheredBytes,
      turn: new Turn(deps.log),
      heartbeatIntervalSeconds,
    };
  }

  /** Answers a GET, in its turn. What `answer` throws is refused in the way that the client can read. */
  async get(context: RequestContext, answer: (wanted: Wanted) => Promise<Answer>): Promise<Answer> {
    const { request } = context;
    const isSocket = wantsWebSocket(request);
    const isStream = !isSocket && wantsEventStream(request);
    try {
      const isConnection = isSocket || isStream || context.query.has("since");
      const turn = isConnection ? this.#deps.openings.turn(context) : undefined;
      if (turn) await turn;
      requireNoMistypedParameter(context);
      if (!isConnection && context.query.has("wait"))
        throw malformed("wait belongs to a poll, which needs since, such as ?since=-&wait=25s.");
      return await answer(isSocket ? "socket" : isStream ? "stream" : isConnection ? "poll" : "inspection");
    } catch (error) {
      const refusal = this.#deps.refusals.of(error);
      if (isSocket) return this.#deps.upgrader.refuse(context, refusal);
      return isStream ? refuseStream(request, refusal) : refusal.response();
    }
  }

  /** @throws {Refusal} @throws {BrokerUnavailable} */
  open(context: RequestContext, wanted: ConnectionWanted, subscribed: Subscribed): Promise<Answer> {
    if (wanted === "socket") return this.#openSocket(context, subscribed);
    return wanted === "stream" ? this.#openStream(context, subscribed) : this.#poll(context, subscribed);
  }

  async #openSocket(context: RequestContext, subscribed: Subscribed): Promise<Answer> {
    const { upgrader, native } = this.#deps;
    const { permissions, starts } = subscribed;
    const known = this.#hasRawForm ? Object.values(subprotocols) : [subprotocols.cloudEvents];
    const subprotocol = chooseSubprotocol(context.request, known);
    const isRaw = subprotocol !== subprotocols.cloudEvents;
    if (isRaw && !this.#hasRawForm)
      throw malformed("A WebSocket needs the subprotocol cloudevents.json here: there is no raw form.");
    if (isRaw && starts.length > 1) {
      throw malformed(
        "Several topics on a WebSocket need the subprotocol cloudevents.json, which names each message's.",
      );
    }
    return await this.#subscribe(subscribed, (subscriptions) => {
      const gap = isRaw ? subscriptions[0]?.gap : undefined;
      if (gap) {
        const detail = `Cannot continue ${gap.topic} after ${gap.requested}: messages are gone. Connect without since.`;
        throw new Refusal("not_resumable", detail);
      }
      native.addServer(context.server);
      return upgrader.upgrade(context, {
        handler: new TopicSocket(
          this.#socketDeps,
          permissions,
          isRaw ? rawCodec : this.#cloudEventsCodec,
          subscriptions,
        ),
        subprotocol,
        expiresTime: permissions.expiresTime,
      });
    });
  }

  async #openStream(context: RequestContext, subscribed: Subscribed): Promise<Response> {
    const { request } = context;
    const { permissions, starts } = subscribed;
    const { connections, config } = this.#deps;
    const format = context.query.get("format");
    if (format !== null && format !== "cloudevents") throw malformed('The only format is "cloudevents".');
    if (starts.length > streamTopicsMax)
      throw malformed(`At most ${streamTopicsMax} topics go into one event stream.`);
    const isCompressed = this.#isCompressed(request);
    // A plain event stream has no place for a key, and `EventSource` dispatches no event without data.
    const isKeyed = starts.some(({ topic }) => this.#deps.hub.isKeyed(topic));
    const inCloudEvents = isKeyed || format !== null;
    if (starts.length > 1 && !inCloudEvents) {
      throw malformed(
        "Several topics in one event stream need ?format=cloudevents, which names each message's.",
      );
    }
    const streamFormat = { inCloudEvents, hasOwnCursor: isKeyed || starts.length > 1, isCompressed };
    const headers = isCompressed ? gzipEventStreamHeaders : eventStreamHeaders;
    if (request.method === "HEAD") return new Response(null, { headers });
    // A heartbeat moves the answer, unless its reader takes nothing.
    const silenceSeconds =
      this.#streamDeps.heartbeatIntervalSeconds + Math.min(config.heartbeatTimeoutSeconds, 120);
    const { expiresTime } = permissions;
    return await this.#subscribe(subscribed, (subscriptions) => {
      if (haveAllEnded(subscriptions)) return nothingFollows(subscriptions);
      const handler = new EventStream(this.#streamDeps, permissions, subscriptions, streamFormat);
      return answerEventStream(connections, context, { handler, expiresTime }, silenceSeconds, headers);
    });
  }

  async #poll(context: RequestContext, subscribed: Subscribed): Promise<Response> {
    const options = readPollOptions(context);
    const { permissions } = subscribed;
    return await this.#subscribe(subscribed, async (subscriptions) => {
      if (haveAllEnded(subscriptions)) return nothingFollows(subscriptions);
      using _ = silentFor(context, 2 * pollWaitSecondsMax);
      const isCompressed = this.#isCompressed(context.request);
      return await new Poll(this.#pollDeps, permissions, subscriptions, options, isCompressed).run(context);
    });
  }

  #isCompressed(request: Request): boolean {
    return this.#deps.config.compression === "on" && acceptsGzip(request);
  }

  /** Opens subscriptions for a connection, which closes them. Where none can be opened, nothing stays open. */
  async #subscribe<Opened>(
    subscribed: Subscribed,
    open: (subscriptions: Subscriptions) => Opened | Promise<Opened>,
  ): Promise<Opened> {
    const { counters } = this.#deps;
    const subscriptions = await this.#openAll(subscribed);
    try {
      for (const { resumed, gap } of subscriptions) {
        if (resumed) counters.resumes.complete++;
        if (gap) counters.resumes.gap++;
      }
      return await open(subscriptions);
    } catch (error) {
      closeAll(subscriptions);
      throw error;
    }
  }

  async #openAll({ starts, memberOn }: Subscribed): Promise<Subscriptions> {
    const { hub } = this.#deps;
    const opening = starts.map(({ topic, since, requested }) =>
      hub.open(topic, since, requested, memberOn?.(topic)),
    );
    if (opening.every((one) => one instanceof Subscription)) return opening;
    const results = await Promise.allSettled(opening);
    const subscriptions = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    for (const result of results) {
      if (result.status === "fulfilled") continue;
      closeAll(subscriptions);
      throw result.reason;
    }
    return subscriptions;
  }
}

/** Whether the client returns with the ids of the ends of all its topics. */
const haveAllEnded = (subscriptions: Subscriptions): boolean =>
  subscriptions.every(({ hasSeenEnd }) => hasSeenEnd);

/** An `EventSource` stops by itself after 204, and not after any other answer of its own accord. */
function nothingFollows(subscriptions: Subscriptions): Response {
  closeAll(subscriptions);
  return new Response(null, { status: 204, headers: noStoreHeaders });
}

function closeAll(subscriptions: Subscriptions): void {
  for (const subscription of subscriptions) subscription.close();
}
