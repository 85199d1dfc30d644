/** The settings of `longwire token`. */
import { setting, settings } from "../settings/config.ts";
import { madeTokenSecondsMax } from "../settings/limits.ts";
import { duration, memberInfo, name, toggle, topicPatterns } from "../settings/units.ts";

export const tokenSettings = {
  jwtSecrets: settings.jwtSecrets,
  subscribe: setting("subscribe", topicPatterns, [], "topics it may subscribe to", { takes: "many" }),
  publish: setting("publish", topicPatterns, [], "topics it may publish to", { takes: "many" }),
  end: setting("end", topicPatterns, [], "topics it may end, for good", { takes: "many" }),
  presence: setting("presence", topicPatterns, [], "topics of which it may read who is there", {
    takes: "many",
  }),
  member: setting("member", memberInfo, undefined, "makes its sub a member; others see the JSON object", {
    takes: "none",
  }),
  status: setting("status", toggle, false, "lets it read GET /status"),
  ttlSeconds: setting("ttl", duration(1, madeTokenSecondsMax), 3600, "time until it expires"),
  subject: setting("sub", name, "", "the subject that it names"),
} as const;
