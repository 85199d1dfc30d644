/**
 * The forms in which a topic's live readers get its messages. Readers of one form get the same bytes. A further form is a
 * line here, its encoding in wire/encodings.ts, and the codec of its endpoint.
 */
import type { Counters } from "../metrics.ts";
import type { Encoding } from "../wire/encodings.ts";

export interface Form {
  /** Undefined where readers get the published data itself. */
  readonly encoding: Encoding | undefined;
  /** Where its messages are counted; undefined where they are not. */
  readonly kind: keyof Counters["delivered"] | undefined;
  /** True for WebSockets: Bun reaches all of them with one publish to a native topic. */
  readonly isNative: boolean;
  /** True where its readers get data alone, so that the removal of a key, which has none, is not told. */
  readonly isDataOnly?: true;
}

export const forms = {
  raw: { encoding: undefined, kind: "raw", isNative: true, isDataOnly: true },
  cloudEvents: { encoding: "cloudEvents", kind: "cloudevents", isNative: true },
  eventStream: { encoding: "serverSentEvents", kind: "events", isNative: false },
  eventStreamGzip: { encoding: "serverSentEventsGzip", kind: "events", isNative: false },
  cloudEventStream: { encoding: "serverSentCloudEvents", kind: "events_cloudevents", isNative: false },
  cloudEventStreamGzip: {
    encoding: "serverSentCloudEventsGzip",
    kind: "events_cloudevents",
    isNative: false,
  },
  /** For a stream of several topics, which ends each event with its own cursor. */
  cloudEventStreamOfTopics: {
    encoding: "serverSentCloudEventsWithoutId",
    kind: "events_cloudevents",
    isNative: false,
  },
  cloudEventStreamOfTopicsGzip: {
    encoding: "serverSentCloudEventsWithoutIdGzip",
    kind: "events_cloudevents",
    isNative: false,
  },
  poll: { encoding: "cloudEvents", kind: undefined, isNative: false },
  pollGzip: { encoding: "cloudEventsGzip", kind: undefined, isNative: false },
  program: { encoding: undefined, kind: undefined, isNative: false },
} as const satisfies Readonly<Record<string, Form>>;
