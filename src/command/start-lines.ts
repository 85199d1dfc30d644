/** What the command prints when the server is ready: where it is, two commands to try it, and who may do what. */
import { version } from "../../package.json";
import { type Config, settings } from "../settings/config.ts";
import { hasKeys, hasTokenKeys } from "../settings/relations.ts";
import type { BrokerState } from "../topic/broker.ts";

type Availability = Pick<BrokerState, "available" | "reason">;

/**
 * Three lines, and one more where the topics cannot be used.
 * @param url of the server: `http:`, `https:`, or `unix:` with the path of its socket file
 */
export function startLines(url: URL, config: Config, engine: Availability): string {
  const isFile = url.protocol === "unix:";
  const shown = new URL(isFile ? "http://localhost/" : url);
  if (["127.0.0.1", "0.0.0.0", "[::1]", "[::]"].includes(shown.hostname)) shown.hostname = "localhost";
  const ping = new URL("/ping", shown);
  ping.protocol = shown.protocol.replace("http", "ws");
  const where = isFile
    ? `listens on ${url.pathname}, with the page at / and an echo at /ping`
    : `open ${shown} for the page, or connect to ${ping} for an echo`;
  const topic = `${isFile ? `--unix-socket ${url.pathname} ` : ""}${new URL("/topics/news", shown)}`;
  return [
    `Longwire ${version}: ${where}; Ctrl+C stops it`,
    `Follow a topic: curl -N -H 'Accept: text/event-stream' ${topic} — and publish: curl -d hello ${topic}`,
    whoMayDoWhat(config),
    ...whatIsAway(config, engine),
  ].join("\n");
}

function whatIsAway({ redisUrl, data }: Config, { available, reason }: Availability): readonly string[] {
  if (reason === undefined) return [];
  const engine = redisUrl ? `Redis at ${settings.redisUrl.unit.show(redisUrl)}` : `the data in ${data}`;
  return [
    available
      ? `Read only: ${engine} takes no messages (${reason}). Publishing is answered with 503 until it does`
      : `Away: ${engine} cannot be used (${reason}). Topics are answered with 503 until it can; the server tries again by itself`,
  ];
}

function whoMayDoWhat(config: Config): string {
  const { apiKeys, publicTopics, privatePing, insecure } = config;
  if (!hasKeys(config)) {
    const who = insecure ? "everyone who reaches it" : "every program on this machine";
    return `Open: no key is set, so ${who} may publish and subscribe; --api-key guards it`;
  }
  const needed = [
    apiKeys.length > 0 ? "the API key" : "",
    hasTokenKeys(config) ? "a token that allows them" : "",
  ]
    .filter((name) => name !== "")
    .join(" or ");
  const exceptions = [
    ...(publicTopics.length > 0 ? [`anyone may subscribe to ${publicTopics.join(", ")}`] : []),
    ...(privatePing ? [] : ["/ping is open"]),
  ].join(", and ");
  return `Guarded: topics need ${needed}, as Authorization: Bearer …${exceptions && `; ${exceptions}`}`;
}
