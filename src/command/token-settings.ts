/** The settings of `longwire token`. */
import { settings } from "../settings/config.ts";
import { madeTokenSecondsMax } from "../settings/limits.ts";
import { duration, name, toggle, topicPatterns } from "../settings/units.ts";

export const tokenSettings = {
  jwtSecrets: settings.jwtSecrets,
  subscribe: {
    flag: "subscribe",
    unit: topicPatterns,
    default: [],
    help: "topics it may subscribe to",
    takes: "many",
  },
  publish: {
    flag: "publish",
    unit: topicPatterns,
    default: [],
    help: "topics it may publish to",
    takes: "many",
  },
  end: {
    flag: "end",
    unit: topicPatterns,
    default: [],
    help: "topics it may end, for good",
    takes: "many",
  },
  status: { flag: "status", unit: toggle, default: false, help: "lets it read GET /status" },
  ttlSeconds: {
    flag: "ttl",
    unit: duration(1, madeTokenSecondsMax),
    default: 3600,
    help: "time until it expires",
  },
  subject: { flag: "sub", unit: name, default: "", help: "the subject that it names" },
} as const;
