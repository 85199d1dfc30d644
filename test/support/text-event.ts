/** What a subscriber receives in the forms of CloudEvents. */
import { expect } from "bun:test";
import type { ReceivedEvent } from "./topics.ts";

/** The event of a message that was published as text, for `toEqual`. */
export const textEvent = (topic: string, id: string, data: string): ReceivedEvent => ({
  specversion: "1.0",
  type: "longwire.message",
  source: `/topics/${topic}`,
  id,
  topic,
  time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
  authtype: "unauthenticated",
  datacontenttype: "text/plain",
  data,
});
