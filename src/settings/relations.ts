/** Settings that contradict each other, or that have no effect, found before anything is started. */

import { feedsOf, feedsOfTopicMax, isFeed } from "../topic/feed.ts";
import { matchesTopic } from "../topic/message.ts";
import { type Config, ConfigError, type HandlerConfig, settings } from "./config.ts";
import { connectionsFew, heartbeatSecondsAdvised } from "./limits.ts";

/** What else decides whether settings have an effect. */
export interface Surroundings {
  /** Whether the program has an `authorize`, which takes the place of keys. */
  readonly hasAuthorize: boolean;
}

/** Whether tokens or API keys are checked. Without them, and without an `authorize`, everyone may do everything. */
export const hasKeys = (config: HandlerConfig): boolean => hasTokenKeys(config) || config.apiKeys.length > 0;

export const hasTokenKeys = ({ jwtSecrets, jwtPublicKeys, jwksUrls }: HandlerConfig): boolean =>
  [jwtSecrets, jwtPublicKeys, jwksUrls].some((keys) => keys.length > 0);

/** @throws {ConfigError} that says what contradicts what, and what to do */
export function checkRelations(config: HandlerConfig, { hasAuthorize }: Surroundings): void {
  checkSizesAndAges(config);
  checkRedis(config);
  checkKeyed(config);
  checkFeeds(config);
  checkPresence(config);
  const ofTokens = {
    jwtAudiences: config.jwtAudiences.length > 0,
    jwtIssuers: config.jwtIssuers.length > 0,
    tokenLeewaySeconds: config.tokenLeewaySeconds !== settings.tokenLeewaySeconds.default,
  };
  for (const [name, isSet] of Object.entries(ofTokens)) {
    if (isSet && !hasTokenKeys(config))
      throw new ConfigError(
        `${flag(name as keyof typeof ofTokens)} has no effect without a key of tokens: give --jwt-secret, --jwt-public-key or --jwks-url`,
      );
  }
  const guards = {
    "--public": config.publicTopics.length > 0,
    "--private-ping": config.privatePing,
    "--stamp-sender": config.stampSender,
    "--token-cookie": config.tokenCookie !== "",
  };
  for (const [name, isSet] of Object.entries(guards)) {
    if (isSet && !hasKeys(config) && !hasAuthorize)
      throw new ConfigError(
        `${name} has no effect without a key: everyone may do everything. Give --api-key, --jwt-secret, …`,
      );
  }
  // Any page can have the origin "null": it loads itself in a sandboxed frame.
  const anyPage = config.origins.find((origin) => origin === "*" || origin === "null");
  if (config.tokenCookie && anyPage) {
    throw new ConfigError(
      `--token-cookie and --origin ${anyPage} contradict each other: a browser sends the cookie with the requests of ` +
        "every page, so any page could act as its visitor. Name the origins",
    );
  }
}

/** The same for settings that only a server with its own listener has. @throws {ConfigError} */
export function checkServerRelations(config: Config): void {
  if (Boolean(config.tlsCertificateFile) !== Boolean(config.tlsKeyFile)) {
    throw new ConfigError(
      "--tls-cert and --tls-key go together: a certificate needs its key, and a key its certificate",
    );
  }
  if (config.operationsPort > 0 && config.operationsUnixSocket)
    throw new ConfigError("--operations-port and --operations-unix contradict each other: give one of them");
  if (!config.reusePort) return;
  if (!config.redisUrl) {
    throw new ConfigError(
      "--reuse-port needs --redis: otherwise each process has topics of its own, and a client does not get what is " +
        "published to another",
    );
  }
  if (config.unixSocket || config.port === 0)
    throw new ConfigError("--reuse-port needs a --port that all processes share, not --unix and not 0");
}

function checkRedis(config: HandlerConfig): void {
  if (config.redisUrl && config.data) {
    throw new ConfigError("--redis and --data contradict each other: topics are kept by one engine");
  }
  const onlyWithRedis = [
    "redisReplicaUrl",
    "redisPrefix",
    "redisAcknowledge",
    "redisLosslessFailover",
  ] as const;
  const notWithRedis = ["historyBytesMax", "positionBytesMax", "idempotencyBytesMax"] as const;
  for (const name of config.redisUrl ? [] : onlyWithRedis) {
    if (config[name] !== settings[name].default)
      throw new ConfigError(`${flag(name)} has no effect without --redis`);
  }
  for (const name of config.redisUrl ? notWithRedis : []) {
    if (config[name] !== settings[name].default)
      throw new ConfigError(`${flag(name)} has no effect with --redis: there its maxmemory is that limit`);
  }
  const { redisUrl: primary, redisReplicaUrl: replica } = config;
  if (primary && replica && primary.database !== replica.database) {
    throw new ConfigError(
      `--redis names the database ${primary.database} and --redis-replica ${replica.database}: a replica has the topics in the ` +
        "same database as its primary",
    );
  }
  if (config.redisLosslessFailover && config.redisAcknowledge === 0) {
    throw new ConfigError(
      "--redis-lossless-failover needs --redis-acknowledge: a failover loses what no replica has acknowledged",
    );
  }
}

function checkKeyed({ keyed, keysMax }: HandlerConfig): void {
  if (keyed.length === 0 && keysMax !== settings.keysMax.default)
    throw new ConfigError("--keys-max has no effect without --keyed");
}

function checkPresence(config: HandlerConfig): void {
  if (config.presence.length > 0) return;
  for (const name of ["presenceGraceSeconds", "presenceMembersMax"] as const)
    if (config[name] !== settings[name].default)
      throw new ConfigError(`${flag(name)} has no effect without --presence`);
}

/** A row of SQLite has 10^9 bytes at most: 5 of these, and 40 MiB of other messages and their copies. */
const fedBytesMax = 128 * 1024 ** 2;

function checkFeeds(config: HandlerConfig): void {
  const { feeds, keyed, data, messageBytesMax } = config;
  if (feeds.length > 0 && data && messageBytesMax > fedBytesMax)
    throw new ConfigError(
      `${shown(config, "messageBytesMax")} is more than --feed with --data takes, ${fedBytesMax / 1024 ** 2}MiB: a message and ` +
        "its copies are one row of the file",
    );
  const keyedFeed = feeds.find(({ topic }) => matchesTopic(keyed, topic));
  if (keyedFeed)
    throw new ConfigError(
      `--feed names the topic ${keyedFeed.topic}, which is keyed by --keyed: a feed keeps every message`,
    );
  for (const { pattern, topic } of feeds) {
    if (isFeed(feeds, pattern))
      throw new ConfigError(
        `--feed '${pattern} ${topic}' has no effect: ${pattern} is a feed, which goes into no other`,
      );
    // The topics of the longest prefix are in the most feeds.
    const count = feedsOf(feeds, pattern).length;
    if (count > feedsOfTopicMax)
      throw new ConfigError(
        `--feed '${pattern} …' has topics that go into ${count} feeds, and ${feedsOfTopicMax} are possible: each is one more append`,
      );
  }
}

function checkSizesAndAges(config: HandlerConfig): void {
  const { bufferedBytesMax, messageBytesMax, positionAgeSeconds, historyAgeSeconds } = config;
  // The largest frame is the raw one: --max-message bytes of data. A reader that is given a second one while it takes the
  // first must not be cut. Forms in which a message is larger are looked at when it is sent (delivery/rule.ts).
  if (bufferedBytesMax < 2 * messageBytesMax) {
    throw new ConfigError(
      `${shown(config, "bufferedBytesMax")} is less than two of the largest frames (${shown(config, "messageBytesMax")}): ` +
        "healthy readers of large messages would be cut. Raise the first or lower the second",
    );
  }
  if (config.bufferedBytesTotalMax > 0 && config.bufferedBytesTotalMax < bufferedBytesMax) {
    throw new ConfigError(
      `${shown(config, "bufferedBytesTotalMax")} is less than ${shown(config, "bufferedBytesMax")}: ` +
        "all connections together may hold less than each of them. Raise the first or lower the second",
    );
  }
  // A topic whose position is forgotten begins again in a new epoch, and its clients get a gap.
  if (positionAgeSeconds < historyAgeSeconds) {
    throw new ConfigError(
      `${shown(config, "positionAgeSeconds")} is less than ${shown(config, "historyAgeSeconds")}: ` +
        "the position of a topic must live as long as its messages",
    );
  }
  const tooLong = config.retain.find(({ ageSeconds }) => ageSeconds > positionAgeSeconds);
  if (tooLong) {
    throw new ConfigError(
      `${shown(config, "positionAgeSeconds")} is less than the age in --retain '${settings.retain.unit.show([tooLong])}': ` +
        "the position of a topic must live as long as its messages",
    );
  }
}

/**
 * Settings that are allowed and rarely meant, for the log.
 * @param connectionsAllowed how many connections the limit on file descriptors allows
 */
export function doubtsAbout(
  { heartbeatIntervalSeconds, connectionsMax }: HandlerConfig,
  connectionsAllowed: number,
): readonly string[] {
  const doubts: string[] = [];
  if (heartbeatIntervalSeconds > heartbeatSecondsAdvised)
    doubts.push(
      `--heartbeat-interval is over ${heartbeatSecondsAdvised}s: some proxies forget a connection that is silent for so long`,
    );
  if (connectionsMax > connectionsAllowed)
    doubts.push(
      `--max-connections ${connectionsMax} is more than the ${connectionsAllowed} that the limit on file descriptors ` +
        "(ulimit -n) leaves: raise that limit",
    );
  else if (connectionsMax === 0 && connectionsAllowed < connectionsFew)
    doubts.push(
      `the limit on file descriptors (ulimit -n) leaves only ${connectionsAllowed} connections: raise it`,
    );
  return doubts;
}

type Name =
  | "bufferedBytesMax"
  | "bufferedBytesTotalMax"
  | "messageBytesMax"
  | "positionAgeSeconds"
  | "historyAgeSeconds";

const flag = (name: keyof HandlerConfig): string => `--${settings[name].flag}`;

const shown = (config: HandlerConfig, name: Name): string =>
  `${flag(name)} ${settings[name].unit.show(config[name])}`;
