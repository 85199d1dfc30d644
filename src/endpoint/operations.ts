/** For whoever runs the server: /healthz, /readyz and /metrics. docs/operations.md tells every name. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Registry } from "prom-client";
import { version } from "../../package.json";
import type { ApiKeys } from "../access/api-keys.ts";
import { bearerToken } from "../access/credentials.ts";
import type { Connections } from "../connection/connections.ts";
import { descriptorsMax } from "../connection/descriptors.ts";
import type { MemoryBroker } from "../engine/memory.ts";
import { methods } from "../http/methods.ts";
import { problem } from "../http/problem.ts";
import type { Handler } from "../http/request-context.ts";
import type { Counters } from "../metrics.ts";
import type { Broker } from "../topic/broker.ts";

/** What the endpoints tell of. */
export interface OperationsDeps {
  readonly broker: Broker;
  /** What the engine in memory holds. */
  readonly memory: Pick<MemoryBroker, "topicCount" | "historyBytes">;
  readonly connections: Connections;
  readonly counters: Counters;
  readonly apiKeys: ApiKeys;
}

export function operationsHandlers(deps: OperationsDeps): Record<string, Handler> {
  const registry = registryOf(deps);
  const { broker, connections, apiKeys } = deps;
  /** The broker's later absence alone must not take every node out of service at once. */
  let wasReached = false;
  const plain = { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" };
  return {
    "/healthz": methods({ GET: () => new Response("alive\n", { headers: plain }) }),

    "/readyz": methods({
      GET: () => {
        const draining = connections.isDraining;
        wasReached ||= broker.available;
        const ready = wasReached && !draining;
        const body = { ready, draining, broker: broker.available ? "available" : "away" };
        return Response.json(body, { status: ready ? 200 : 503, headers: { "Cache-Control": "no-store" } });
      },
    }),

    "/metrics": methods({
      GET: async ({ request }) => {
        if (!apiKeys.isEmpty && !apiKeys.includes(bearerToken(request))) {
          return problem(401, "Metrics are for holders of the API key: send Authorization: Bearer <key>.", {
            "WWW-Authenticate": "Bearer",
          });
        }
        const text = await registry.metrics();
        return new Response(text, {
          headers: { "Content-Type": registry.contentType, "Cache-Control": "no-store" },
        });
      },
    }),
  };
}

/** The hot path counts in plain numbers, and each scrape reads them. */
function registryOf({ broker, memory, connections, counters }: OperationsDeps): Registry {
  const registry = new Registry();
  const write = new MetricWriter(registry);
  write.gauges("longwire_build_info", "Always 1, with the version.", "version", () => ({ [version]: 1 }));
  write.gauges("longwire_connections", "Open connections.", "form", () => counters.open);
  write.gauge("longwire_connections_max", "Connections that may be open.", () => connections.connectionsMax);
  write.counters("longwire_connections_opened_total", "Connections opened.", "form", () => counters.opened);
  write.counter("longwire_received_messages_total", "Frames from clients.", () => counters.receivedMessages);
  write.counter(
    "longwire_received_characters_total",
    "What they held: bytes, of text characters.",
    () => counters.receivedCharacters,
  );
  write.counter("longwire_published_messages_total", "Messages published.", () => counters.publishedMessages);
  write.counter(
    "longwire_published_characters_total",
    "What they held: bytes, of text characters.",
    () => counters.publishedCharacters,
  );
  write.counter(
    "longwire_publish_failures_total",
    "Publications that failed.",
    () => counters.publishFailures,
  );
  write.counter(
    "longwire_publish_seconds_total",
    "Time the broker took for all publications.",
    () => counters.publishMilliseconds / 1000,
  );
  write.counters(
    "longwire_delivered_messages_total",
    "Messages given to live subscribers.",
    "form",
    () => counters.delivered,
  );
  write.counter(
    "longwire_replayed_messages_total",
    "Messages given to those who came back.",
    () => counters.replayedMessages,
  );
  write.counters(
    "longwire_resumes_total",
    "Subscriptions with a since, by how they began.",
    "result",
    () => counters.resumes,
  );
  write.counter("longwire_gaps_total", "Gaps told, at the start or in mid-life.", () => counters.gaps);
  write.counters("longwire_cut_total", "Connections ended by the server.", "reason", () => counters.cut);
  write.counters("longwire_refused_total", "Requests and frames refused.", "reason", () => counters.refused);
  write.gauge("longwire_broker_up", "Whether the broker can be reached.", () => Number(broker.available));
  write.gauge("longwire_topics", "Topics whose position is known.", () => memory.topicCount);
  write.gauge("longwire_history_bytes", "History kept, with its overhead.", () => memory.historyBytes);
  write.gauge("longwire_draining", "1 while draining.", () => Number(connections.isDraining));
  writeProcess(write);
  return registry;
}

/**
 * What a process tells of itself, under the names that every Prometheus client gives it. Measured here, because of
 * prom-client's own about half is empty or wrong under Bun 1.4.5.
 */
function writeProcess(write: MetricWriter): void {
  const cpuSeconds = (): { user: number; system: number } => {
    const { user, system } = process.cpuUsage();
    return { user: user / 1e6, system: system / 1e6 };
  };
  const startSeconds = Date.now() / 1000 - process.uptime();
  write.counter("process_cpu_user_seconds_total", "CPU time in this program.", () => cpuSeconds().user);
  write.counter("process_cpu_system_seconds_total", "CPU time in the kernel.", () => cpuSeconds().system);
  write.counter(
    "process_cpu_seconds_total",
    "CPU time of both.",
    () => cpuSeconds().user + cpuSeconds().system,
  );
  write.gauge("process_start_time_seconds", "When it started, since 1970.", () => startSeconds);
  write.gauge("process_resident_memory_bytes", "Memory that it holds.", () => process.memoryUsage.rss());
  if (existsSync(ownDescriptors)) {
    const count = async (): Promise<number> => (await readdir(ownDescriptors)).length;
    write.gauge("process_open_fds", "Descriptors that it has open.", count);
  }
  const allowed = descriptorsMax();
  if (allowed !== undefined) {
    write.gauge("process_max_fds", "Descriptors that it may have open.", () => allowed);
  }

  eventLoopDelay.enable();
  write.gauges(
    "longwire_event_loop_delay_seconds",
    "How late the event loop was since the last scrape; quantile 1 is the worst.",
    "quantile",
    () => {
      const seconds = (percentile: number): number => eventLoopDelay.percentile(percentile) / 1e9;
      const read = { "0.5": seconds(50), "0.99": seconds(99), "1": seconds(100) };
      eventLoopDelay.reset();
      return read;
    },
  );
}

const ownDescriptors = "/proc/self/fd";

/** One for the process, however many servers it has: they share its event loop. */
const eventLoopDelay = monitorEventLoopDelay({ resolution: 20 });

type Labelled = () => Readonly<Record<string, number>>;

/** Declares metrics that are read when they are scraped. */
class MetricWriter {
  readonly #registers: Registry[];

  constructor(registry: Registry) {
    this.#registers = [registry];
  }

  gauge(name: string, help: string, read: () => number | Promise<number>): void {
    const registers = this.#registers;
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        this.set(await read());
      },
    });
  }

  gauges(name: string, help: string, label: string, read: Labelled): void {
    const registers = this.#registers;
    new Gauge({
      name,
      help,
      registers,
      labelNames: [label],
      collect() {
        for (const [value, number] of Object.entries(read())) this.set({ [label]: value }, number);
      },
    });
  }

  counter(name: string, help: string, read: () => number): void {
    const registers = this.#registers;
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  }

  counters(name: string, help: string, label: string, read: Labelled): void {
    const registers = this.#registers;
    new Counter({
      name,
      help,
      registers,
      labelNames: [label],
      collect() {
        this.reset();
        for (const [value, number] of Object.entries(read())) this.inc({ [label]: value }, number);
      },
    });
  }
}
