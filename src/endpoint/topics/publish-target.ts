/** Where a request or a frame publishes to, and in whose name. */
import type { Sender } from "../../access/publishers.ts";
import type { Draft } from "../../topic/draft.ts";

/** A topic to publish to, and the sender as a publisher of it. */
export interface PublishTarget {
  readonly topic: string;
  readonly sender: Sender;
}

/** A draft as the server publishes it: with who sent it. Its type names each member, so that none is left out. */
export const stamped = (
  { data, contentType, attributes, shared }: Draft,
  { stamp }: Sender,
): Required<Draft> => ({
  data,
  contentType,
  attributes: attributes ? { ...attributes, ...stamp } : stamp,
  shared,
});
