/** What an engine on this machine appends to a feed. */
import type { Draft } from "../topic/draft.ts";
import { fedDraft } from "../topic/feed.ts";
import { formatId, type Position } from "../topic/message.ts";

/** @param entry what is at a position of the origin; undefined for its end */
export function fedAt(entry: Draft | undefined, origin: string, position: Position): Draft {
  const fed = fedDraft(entry, origin);
  return { ...fed, attributes: { ...fed.attributes, originid: formatId(position) } };
}
