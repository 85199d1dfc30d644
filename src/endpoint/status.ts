/** GET /status: what the server measures of itself, once a second, as an event stream for the page's server panel. */
import { version } from "../../package.json";
import type { Access } from "../access/access.ts";
import type { Permissions } from "../access/permissions.ts";
import {
  type ClientAddress,
  type HttpConnection,
  nextConnectionNumber,
  type Purpose,
} from "../connection/connection.ts";
import type { Connections } from "../connection/connections.ts";
import type { HeldBytes } from "../connection/held-bytes.ts";
import { methods } from "../http/methods.ts";
import type { Proxies } from "../http/proxies.ts";
import type { Handler, RequestContext } from "../http/request-context.ts";
import { type Counters, EventLoopDelay } from "../metrics.ts";
import { statusSilenceSecondsMax } from "../settings/limits.ts";
import type { Broker } from "../topic/broker.ts";
import { serverSentEvent } from "../wire/server-sent-events.ts";

export interface StatusDeps {
  readonly broker: Pick<Broker, "state">;
  /** Undefined where the topics are in Redis, which counts them itself. */
  readonly engine: { readonly topicCount: number; readonly historyBytes: number } | undefined;
  readonly engineKind: "memory" | "disk" | "redis";
  readonly connections: Connections;
  readonly held: Pick<HeldBytes, "measure">;
  readonly counters: Counters;
  readonly access: Pick<Access, "authenticateStatus">;
  readonly proxies: Pick<Proxies, "addressOf">;
}

const utf8 = new TextEncoder();

const headers = {
  "Content-Type": "text/event-stream; charset=utf-8",
  "Cache-Control": "no-store, no-transform",
  "X-Accel-Buffering": "no",
} as const;

export function statusEndpoint(deps: StatusDeps): Handler {
  const meter = new StatusMeter(deps);
  return methods({
    GET: async (context: RequestContext) => {
      const { request, server } = context;
      const permissions = await deps.access.authenticateStatus(context);
      if (request.method === "HEAD") return new Response(null, { headers });
      const clientAddress = deps.connections.admit(deps.proxies.addressOf(context));
      const stream = new StatusStream(deps.connections, meter, clientAddress, permissions);
      server.timeout(request, statusSilenceSecondsMax);
      return new Response(stream.body, { headers });
    },
  });
}

/** Makes the figures, while someone reads them. */
class StatusMeter {
  readonly #deps: StatusDeps;
  readonly #readers = new Set<StatusStream>();
  #delay: EventLoopDelay | undefined;
  #text = "";
  #madeMilliseconds = 0;

  constructor(deps: StatusDeps) {
    this.#deps = deps;
  }

  add(reader: StatusStream): void {
    this.#readers.add(reader);
    this.#delay ??= new EventLoopDelay();
  }

  delete(reader: StatusStream): void {
    this.#readers.delete(reader);
    if (this.#readers.size > 0) return;
    this.#delay?.[Symbol.dispose]();
    this.#delay = undefined;
  }

  /** The same text for all readers of a second. */
  text(): string {
    const now = performance.now();
    if (now - this.#madeMilliseconds > 900 || this.#text === "") {
      this.#text = JSON.stringify(this.#measure());
      this.#madeMilliseconds = now;
    }
    return this.#text;
  }

  #measure(): object {
    const { broker, engine, engineKind, connections, held, counters } = this.#deps;
    const { available, reason } = broker.state;
    this.#delay?.measure();
    const total = (counts: Readonly<Record<string, number>>): number =>
      Object.values(counts).reduce((sum, count) => sum + count, 0);
    return {
      time: new Date().toISOString(),
      version,
      uptimeSeconds: Math.floor(process.uptime()),
      connections: counters.open,
      connectionsMax: connections.connectionsMax,
      receivedMessages: counters.receivedMessages,
      publishedMessages: counters.publishedMessages,
      deliveredMessages: total(counters.delivered),
      replayedMessages: counters.replayedMessages,
      resumes: counters.resumes,
      gaps: counters.gaps,
      cut: counters.cut,
      refused: counters.refused,
      memoryBytes: process.memoryUsage.rss(),
      bufferedBytes: held.measure(),
      eventLoopDelaySeconds: this.#delay?.takeLongestSeconds() ?? 0,
      engine: {
        kind: engineKind,
        available,
        reason,
        topics: engine?.topicCount,
        historyBytes: engine?.historyBytes,
      },
      draining: connections.isDraining,
    };
  }
}

/** One reader. It is counted, limited, drained and expired like every other connection. */
class StatusStream implements HttpConnection, UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> {
  readonly number = nextConnectionNumber();
  readonly openedMilliseconds = performance.now();
  readonly kind = "status";
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly #connections: Connections;
  readonly #meter: StatusMeter;
  readonly #permissions: Permissions;
  #controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;

  constructor(
    connections: Connections,
    meter: StatusMeter,
    readonly clientAddress: ClientAddress,
    permissions: Permissions,
  ) {
    this.#connections = connections;
    this.#meter = meter;
    this.#permissions = permissions;
    this.body = new ReadableStream<Uint8Array<ArrayBuffer>>(this);
  }

  get expiresTime(): number {
    return this.#permissions.expiresTime;
  }

  /** A reader that takes nothing gets nothing more, so at most two samples are held. */
  get heldBytes(): number {
    return 0;
  }

  purpose(): Purpose {
    return { sub: this.#permissions.subject, topics: 0 };
  }

  start(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): void {
    this.#controller = controller;
    this.#connections.addHttp(this);
    this.#meter.add(this);
    this.tick();
  }

  cancel(): void {
    if (!this.#controller) return;
    this.#controller = undefined;
    this.#meter.delete(this);
    this.#connections.deleteHttp(this);
  }

  tick(): void {
    const controller = this.#controller;
    if (controller && (controller.desiredSize ?? 0) > 0)
      controller.enqueue(utf8.encode(serverSentEvent(this.#meter.text())));
  }

  abandon(): void {
    const controller = this.#controller;
    this.cancel();
    controller?.error(new Error("the reader of the status is too slow"));
  }

  close(code: number, reason: string): void {
    const controller = this.#controller;
    controller?.enqueue(
      utf8.encode(serverSentEvent(JSON.stringify({ code, reason }), undefined, "longwire.close")),
    );
    this.cancel();
    controller?.close();
  }
}
