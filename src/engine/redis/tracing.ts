/**
 * `TracingChannel.hasSubscribers`, which Bun 1.4.5 lacks. Without it @redis/client takes every command for traced, and makes a text
 * of each argument: a call with 64 messages of 256 bytes took 0.1 ms for that.
 */
import { type TracingChannel, tracingChannel } from "node:diagnostics_channel";

/** Does nothing where the property is there. */
export function defineHasSubscribers(): void {
  const prototype: object = Object.getPrototypeOf(tracingChannel("longwire"));
  if ("hasSubscribers" in prototype) return;
  Object.defineProperty(prototype, "hasSubscribers", {
    configurable: true,
    get(this: TracingChannel) {
      const { start, end, asyncStart, asyncEnd, error } = this;
      return [start, end, asyncStart, asyncEnd, error].some((channel) => channel.hasSubscribers);
    },
  });
}
