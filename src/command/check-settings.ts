/** The settings of `longwire check`. */
import { checkIdleSecondsMax, checkMessagesMax } from "../settings/limits.ts";
import { count, duration, name, toggle } from "../settings/units.ts";

export const checkSettings = {
  token: { flag: "token", unit: name, default: "", help: "API key or token to present" },
  topic: { flag: "topic", unit: name, default: "", help: "topic to publish to; without it a new one" },
  messages: {
    flag: "messages",
    unit: count(0, checkMessagesMax),
    default: 10_000,
    help: "messages to publish while lines are cut",
  },
  idleSeconds: {
    flag: "idle",
    unit: duration(0, checkIdleSecondsMax),
    default: 0,
    help: "how long silent lines must stay open; 0s to leave it out",
  },
  json: { flag: "json", unit: toggle, default: false, help: "print one JSON document", takes: "none" },
} as const;

/** Those of `longwire check --compare`. */
export const compareSettings = { token: checkSettings.token, json: checkSettings.json } as const;
