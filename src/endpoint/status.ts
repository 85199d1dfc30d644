/** GET /status: what the server measures of itself, once a second, as an event stream for the page's server panel. */
import { version } from "../../package.json";
import type { Access } from "../access/access.ts";
import type { Permissions } from "../access/permissions.ts";
import type { Purpose } from "../connection/connection.ts";
import type { Connections } from "../connection/connections.ts";
import { answerEventStream } from "../connection/event-stream.ts";
import type { HttpConnection, HttpHandler } from "../connection/http-connection.ts";
import type { Engine } from "../engine/engine.ts";
import { methods } from "../http/methods.ts";
import type { Handler } from "../http/request-context.ts";
import { type Counters, EventLoopDelay } from "../metrics.ts";
import { statusSilenceSecondsMax } from "../settings/limits.ts";
import type { Hub } from "../topic/hub.ts";
import { closeEvent, serverSentEvent } from "../wire/server-sent-events.ts";

/** More would be no list to look at. */
const busiestTopicsMax = 20;

export interface StatusDeps {
  readonly hub: Pick<Hub, "busiest">;
  readonly engine: Engine;
  readonly connections: Connections;
  readonly counters: Counters;
  readonly access: Pick<Access, "authenticateStatus">;
}

export function statusEndpoint(deps: StatusDeps): Handler {
  const meter = new StatusMeter(deps);
  return methods({
    GET: async (context) => {
      const permissions = await deps.access.authenticateStatus(context);
      const use = { handler: new StatusStream(meter, permissions), expiresTime: permissions.expiresTime };
      return answerEventStream(deps.connections, context, use, statusSilenceSecondsMax);
    },
  });
}

/** Makes the figures, while someone reads them. */
class StatusMeter {
  readonly #deps: StatusDeps;
  #readers = 0;
  #delay: EventLoopDelay | undefined;
  #text = "";
  #madeMilliseconds = 0;

  constructor(deps: StatusDeps) {
    this.#deps = deps;
  }

  add(): void {
    this.#readers++;
    this.#delay ??= new EventLoopDelay();
  }

  delete(): void {
    if (--this.#readers > 0) return;
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
    const { engine, connections, counters, hub } = this.#deps;
    const { kind, broker, size } = engine;
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
      bufferedBytes: connections.heldBytes(),
      eventLoopDelaySeconds: this.#delay?.takeLongestSeconds() ?? 0,
      engine: {
        kind,
        available,
        reason,
        topics: size?.topicCount,
        historyBytes: size?.historyBytes,
      },
      busiestTopics: hub.busiest(busiestTopicsMax),
      draining: connections.isDraining,
    };
  }
}

/** One reader. One that takes nothing gets nothing more, so at most two samples are held. */
class StatusStream implements HttpHandler {
  readonly kind = "status";
  readonly #meter: StatusMeter;
  readonly #permissions: Permissions;

  constructor(meter: StatusMeter, permissions: Permissions) {
    this.#meter = meter;
    this.#permissions = permissions;
  }

  purpose(): Purpose {
    return { sub: this.#permissions.subject, topics: 0 };
  }

  open(connection: HttpConnection): void {
    this.#meter.add();
    this.tick(connection);
  }

  tick(connection: HttpConnection): void {
    if (connection.unsentBytes === 0) connection.write(serverSentEvent(this.#meter.text()));
  }

  close(connection: HttpConnection, code: number, reason: string): void {
    connection.end(closeEvent(code, reason));
  }

  closed(): void {
    this.#meter.delete();
  }
}
