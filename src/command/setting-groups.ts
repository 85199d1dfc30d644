/** How `longwire --help` and docs/operations.md order the settings. */
import type { settings } from "../settings/config.ts";

/** Every setting of the server, once, by heading. The settings that most people need come first. */
export const settingGroups: Readonly<Record<string, readonly (keyof typeof settings)[]>> = {
  "Most used": ["port", "host", "apiKeys"],
  "Who may do what": [
    "jwtSecrets",
    "jwtPublicKeys",
    "jwksUrls",
    "jwtAudiences",
    "jwtIssuers",
    "tokenLeewaySeconds",
    "publicTopics",
    "tokenCookie",
    "privatePing",
    "stampSender",
    "origins",
    "insecure",
  ],
  "What is kept": [
    "data",
    "historyMessages",
    "historyAgeSeconds",
    "retain",
    "historyBytesMax",
    "positionAgeSeconds",
    "positionBytesMax",
    "idempotencyBytesMax",
  ],
  "Many nodes": [
    "redisUrl",
    "redisReplicaUrl",
    "redisPrefix",
    "redisAcknowledge",
    "redisLosslessFailover",
    "reusePort",
  ],
  Limits: [
    "messageBytesMax",
    "bufferedBytesMax",
    "bufferedBytesTotalMax",
    "connectionsMax",
    "connectionsPerAddressMax",
    "messagesPerSecondMax",
    "heartbeatIntervalSeconds",
    "heartbeatTimeoutSeconds",
    "publishSilenceSeconds",
  ],
  Network: ["compression", "unixSocket", "tlsCertificateFile", "tlsKeyFile", "trustedProxies"],
  "Running it": [
    "operationsPort",
    "operationsUnixSocket",
    "drainDelaySeconds",
    "drainWindowSeconds",
    "logLevel",
  ],
};
