/** Whether a server can be the engine, and what of its settings costs safety: by its INFO, in words for the operator. */

export type Info = ReadonlyMap<string, string>;

/** @param text what INFO answers: lines `name:value` below headings */
export function parseInfo(text: string): Info {
  const lines = text.split("\r\n").map((line) => [line.split(":", 1)[0] ?? "", line] as const);
  return new Map(lines.map(([name, line]) => [name, line.slice(name.length + 1)]));
}

/** The oldest version that the scripts were tested on. */
const oldestMajor = 7;

/** @returns why this server cannot be used; undefined if it can */
export function unfitnessOf(info: Info): string | undefined {
  const version = info.get("redis_version") ?? "unknown";
  const mode = info.get("redis_mode");
  if (Number.parseInt(version, 10) < oldestMajor)
    return `Redis ${version} is too old: Longwire needs Redis ${oldestMajor} or newer`;
  if (mode === "cluster")
    return "this is a Redis Cluster, which Longwire does not support: give --redis a single primary";
  if (mode === "sentinel")
    return "this is a Sentinel: give --redis an address that leads to its primary (docs/clustering.md)";
  if (!info.has("master_replid"))
    return "this server hides master_replid, so that a failover that loses messages could not be seen";
  if (info.get("role") !== "master") return "this server is a replica: --redis must lead to the primary";
  return undefined;
}

/** What CONFIG GET says; without a name that the server does not show. */
export type ServerConfig = ReadonlyMap<string, string>;

/** @returns what the operator should change, each a sentence */
export function warningsOf(info: Info, config: ServerConfig): readonly string[] {
  const warnings: string[] = [];
  const policy = info.get("maxmemory_policy");
  if (info.get("maxmemory") === "0")
    warnings.push(
      "maxmemory is 0: history can take all memory of its machine, and then the system kills Redis; set maxmemory",
    );
  if (info.get("maxmemory") !== "0" && policy !== "noeviction")
    warnings.push(
      `maxmemory-policy is ${policy}: a full Redis drops topics, and their clients get gaps; use noeviction`,
    );
  if (info.get("aof_enabled") === "0")
    warnings.push("appendonly is off: a restart of Redis is a gap for every topic");
  else if (config.has("appendfsync") && config.get("appendfsync") !== "always")
    warnings.push(
      `appendfsync is ${config.get("appendfsync")}: a power failure can lose what was acknowledged in the last second`,
    );
  if (Number(info.get("connected_slaves")) > 0 && config.get("min-replicas-to-write") === "0")
    warnings.push(
      "there are replicas, and min-replicas-to-write is 0: in a partition two primaries can accept messages, and one loses them",
    );
  return warnings;
}
