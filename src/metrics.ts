/** What is counted, in plain numbers: to count costs the hot path an addition. operations.ts names them for Prometheus. */

/** How a connection is used: /ping, the forms of /topics, and one that was opened only to say why it is not. */
export type ConnectionKind = "echo" | "raw" | "cloudevents" | "events" | "events_cloudevents" | "refused";

export class Counters {
  /** Open now. */
  readonly open: Record<ConnectionKind, number> = perKind();
  /** Opened since the start. */
  readonly opened: Record<ConnectionKind, number> = perKind();
  /** Frames that clients sent on WebSockets. */
  receivedMessages = 0;
  /** Bytes of binary frames and UTF-16 units of text: to measure text in bytes would be to encode it. */
  receivedCharacters = 0;
  /** By POST, by a frame, or by a program. */
  publishedMessages = 0;
  publishedCharacters = 0;
  publishFailures = 0;
  /** Milliseconds that the broker took for what was published. */
  publishMilliseconds = 0;
  /** Messages given to live subscribers and in replays; a message to ten counts ten. */
  readonly delivered: Record<Exclude<ConnectionKind, "echo" | "refused">, number> = {
    raw: 0,
    cloudevents: 0,
    events: 0,
    events_cloudevents: 0,
  };
  replayedMessages = 0;
  /** Told at the start or in mid-life. */
  gaps = 0;
  /** Subscriptions with a `since`, by how they began. */
  readonly resumes = { complete: 0, gap: 0 };
  /** Connections that the server ended, by the limit that they passed. */
  readonly cut = { slow: 0, silent: 0, rate: 0, expired: 0 };
  /** Requests and frames refused, by what was wrong. */
  readonly refused = {
    origin: 0,
    host: 0,
    token: 0,
    permission: 0,
    connections: 0,
    connections_per_ip: 0,
    message_size: 0,
    malformed: 0,
    conflict: 0,
    unavailable: 0,
    draining: 0,
  };
}

function perKind(): Record<ConnectionKind, number> {
  return { echo: 0, raw: 0, cloudevents: 0, events: 0, events_cloudevents: 0, refused: 0 };
}
