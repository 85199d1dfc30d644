/** /metrics: every metric, by its name. docs/operations.md documents each. */
import { existsSync } from "node:fs";
import { version } from "../../../package.json";
import type { Access } from "../../access/access.ts";
import { bearerToken } from "../../access/credentials.ts";
import type { Connections } from "../../connection/connections.ts";
import { descriptorsMax } from "../../connection/descriptors.ts";
import type { Engine } from "../../engine/engine.ts";
import { methods } from "../../http/methods.ts";
import { Refusal } from "../../http/refusal.ts";
import type { Handler } from "../../http/request-context.ts";
import {
  type Counters,
  count,
  counts,
  type EventLoopDelay,
  gauge,
  gauges,
  histogram,
  type Metric,
} from "../../metrics.ts";
import type { Broker } from "../../topic/broker.ts";
import type { Members } from "../../topic/members.ts";
import { prometheusText, prometheusType } from "../../wire/prometheus.ts";

export interface MetricsDeps {
  readonly engine: Pick<Engine, "size" | "metrics"> & { readonly broker: Pick<Broker, "state"> };
  readonly connections: Pick<Connections, "connectionsMax" | "isDraining" | "heldBytes">;
  /** Memory of recent encodings. */
  readonly encodings: { readonly bytes: number };
  readonly counters: Counters;
  readonly access: Pick<Access, "apiKeys">;
  /** Those with a line on this node; undefined where no topic has presence. */
  readonly hub: { readonly members: Pick<Members, "count" | "pendingCount"> | undefined };
}

/** @param delay measured from the start of the server on, however late this is loaded */
export function metricsEndpoint(deps: MetricsDeps, delay: EventLoopDelay): Handler {
  const metrics = [
    ...trafficMetrics(deps),
    ...resumeMetrics(deps),
    ...stateMetrics(deps),
    ...deps.engine.metrics(),
    ...processMetrics(delay),
  ];
  return methods({
    GET: async ({ request }) => {
      const { apiKeys } = deps.access;
      if (!apiKeys.isEmpty && !apiKeys.includes(bearerToken(request))) {
        const detail = "Metrics are for holders of the API key: send Authorization: Bearer <key>.";
        throw new Refusal("token", detail, { "WWW-Authenticate": "Bearer" });
      }
      delay.measure();
      const headers = { "Content-Type": prometheusType, "Cache-Control": "no-store" };
      return new Response(await prometheusText(metrics), { headers });
    },
  });
}

/** Counters of connections and messages. */
function trafficMetrics({ counters }: MetricsDeps): Metric[] {
  return [
    gauges("longwire_connections", "Open connections.", "form", () => counters.open),
    counts("longwire_connections_opened_total", "Connections opened.", "form", () => counters.opened),
    count("longwire_received_messages_total", "Frames from clients.", () => counters.receivedMessages),
    count(
      "longwire_received_characters_total",
      "Size of those frames: bytes of binary ones, UTF-16 units of text.",
      () => counters.receivedCharacters,
    ),
    count("longwire_published_messages_total", "Messages published.", () => counters.publishedMessages),
    count(
      "longwire_published_characters_total",
      "Size of those messages: bytes of binary ones, UTF-16 units of text.",
      () => counters.publishedCharacters,
    ),
    count("longwire_publish_failures_total", "Publications that failed.", () => counters.publishFailures),
    histogram(
      "longwire_publish_seconds",
      "Time that the broker took for a publication.",
      counters.publishSeconds,
    ),
    histogram(
      "longwire_delivery_delay_seconds",
      "From a message's time to its last live subscriber on this node, by form.",
      counters.deliverySeconds,
    ),
    counts(
      "longwire_delivered_messages_total",
      "Messages given to live subscribers.",
      "form",
      () => counters.delivered,
    ),
    counts(
      "longwire_sent_bytes_total",
      "Bytes of messages, event streams and polls sent.",
      "form",
      () => counters.sentBytes,
    ),
    counts("longwire_cut_total", "Connections ended by the server.", "reason", () => counters.cut),
    count(
      "longwire_descriptor_shortages_total",
      "Seconds in which over 80 % of the file descriptors were open.",
      () => counters.descriptorShortages,
    ),
    counts(
      "longwire_paused_total",
      "Times that reading from a WebSocket paused.",
      "reason",
      () => counters.paused,
    ),
    counts(
      "longwire_evicted_total",
      "Things forgotten before their time, because a bound was reached.",
      "what",
      () => counters.evicted,
    ),
    counts("longwire_refused_total", "Requests and frames refused.", "reason", () => counters.refused),
  ];
}

/** Clients that return, and what they missed. */
function resumeMetrics({ counters }: MetricsDeps): Metric[] {
  return [
    count("longwire_replayed_messages_total", "Messages replayed.", () => counters.replayedMessages),
    counts(
      "longwire_resumes_total",
      "Subscriptions with a since, by how they began.",
      "result",
      () => counters.resumes,
    ),
    count("longwire_gaps_total", "Gaps reported, at the start or later.", () => counters.gaps),
    count(
      "longwire_catch_ups_total",
      "Reads that made up for missed announcements.",
      () => counters.catchUps,
    ),
  ];
}

/** The present state of the server and its engine. */
function stateMetrics({ engine, connections, encodings, hub }: MetricsDeps): Metric[] {
  const { broker, size } = engine;
  return [
    gauges("longwire_build_info", "Always 1, with the version.", "version", () => ({ [version]: 1 })),
    gauge("longwire_connections_max", "Connections that may be open.", () => connections.connectionsMax),
    gauge("longwire_broker_up", "Whether the broker can be reached.", () => Number(broker.state.available)),
    gauge("longwire_broker_read_only", "Whether the broker can be read and takes no publications.", () =>
      Number(broker.state.available && broker.state.reason !== undefined),
    ),
    ...(size
      ? [
          gauge("longwire_topics", "Topics whose position is known.", () => size.topicCount),
          gauge("longwire_history_bytes", "History kept, with its overhead.", () => size.historyBytes),
        ]
      : []),
    gauge("longwire_buffered_bytes", "Memory for the unsent bytes of all connections.", () =>
      connections.heldBytes(),
    ),
    gauge("longwire_encodings_bytes", "Recent messages as they are sent.", () => encodings.bytes),
    gauge("longwire_presence_members", "Members with a line on this node.", () => hub.members?.count ?? 0),
    gauge(
      "longwire_presence_pending",
      "Of these and of those who left, how many the engine is still to be told.",
      () => hub.members?.pendingCount ?? 0,
    ),
    gauge("longwire_draining", "1 while draining.", () => Number(connections.isDraining)),
  ];
}

/** The process, under the names that every Prometheus client uses. */
function processMetrics(delay: EventLoopDelay): Metric[] {
  const allowed = descriptorsMax();
  const startSeconds = Date.now() / 1000 - process.uptime();
  const cpuSeconds = (of: "user" | "system"): number => process.cpuUsage()[of] / 1e6;
  const openDescriptors = async (): Promise<number> => {
    const { readdir } = await import("node:fs/promises"); // Not at start, where it costs 2 ms.
    return (await readdir(ownDescriptors)).length;
  };
  return [
    count("process_cpu_user_seconds_total", "CPU time in this program.", () => cpuSeconds("user")),
    count("process_cpu_system_seconds_total", "CPU time in the kernel.", () => cpuSeconds("system")),
    count("process_cpu_seconds_total", "CPU time of both.", () => cpuSeconds("user") + cpuSeconds("system")),
    gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.", () => startSeconds),
    gauge("process_resident_memory_bytes", "Resident memory.", () => process.memoryUsage.rss()),
    ...(existsSync(ownDescriptors)
      ? [gauge("process_open_fds", "Open file descriptors.", openDescriptors)]
      : []),
    ...(allowed === undefined
      ? []
      : [gauge("process_max_fds", "File descriptors that may be open.", () => allowed)]),
    histogram(
      "longwire_event_loop_delay_seconds",
      "How late the event loop serves what arrives at any moment.",
      delay.seconds,
    ),
  ];
}

const ownDescriptors = "/proc/self/fd";
