/** The settings of `longwire check`. */
import { setting } from "../settings/config.ts";
import { checkIdleSecondsMax, checkMessagesMax } from "../settings/limits.ts";
import { count, duration, name, toggle } from "../settings/units.ts";

export const checkSettings = {
  token: setting("token", name, "", "API key or token to present"),
  topic: setting("topic", name, "", "topic to publish to; without it a new one"),
  messages: setting(
    "messages",
    count(0, checkMessagesMax),
    10_000,
    "messages to publish while lines are cut",
  ),
  idleSeconds: setting(
    "idle",
    duration(0, checkIdleSecondsMax),
    0,
    "how long silent lines must stay open; 0s to leave it out",
  ),
  json: setting("json", toggle, false, "print one JSON document", { takes: "none" }),
} as const;

/** Those of `longwire check --compare`. */
export const compareSettings = { token: checkSettings.token, json: checkSettings.json } as const;
