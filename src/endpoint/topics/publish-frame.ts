/** Publishes a frame that a client sent on its WebSocket. */
import type { Permissions } from "../../access/permissions.ts";
import { KeyAbsent } from "../../topic/broker.ts";
import { type Draft, DraftError } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { isRemoval, keyed } from "../../topic/key.ts";
import type { PublishFrame } from "../../wire/client-frame.ts";
import { stamped } from "./publish-target.ts";

/** @throws {Refusal} if the client may not @throws {DraftError} @throws what `Hub.publish` throws */
export async function publishFrame(
  { topic, draft: read }: PublishFrame,
  permissions: Permissions,
  hub: Hub,
): Promise<void> {
  const draft = read && withKey(read, topic, hub);
  const asked = permissions.require(draft ? "publish" : "end", topic);
  const sender = asked instanceof Promise ? await asked : asked;
  try {
    await hub.publish(topic, draft ? { drafts: [stamped(draft, sender)] } : { drafts: [], end: true });
  } catch (error) {
    // A frame has no answer, and what the client wants is so: the key is not there.
    if (!(error instanceof KeyAbsent)) throw error;
  }
}

/** @throws {DraftError} for what a topic cannot take: a keyed one needs keys, and only it has removals */
function withKey(draft: Draft, topic: string, hub: Hub): Draft {
  if (hub.isKeyed(topic)) return keyed(draft, undefined, topic);
  if (isRemoval(draft))
    throw new DraftError(`The topic ${topic} is not keyed, so nothing can be removed from it.`);
  return draft;
}
