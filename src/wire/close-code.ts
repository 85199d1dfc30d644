/** Why a WebSocket was closed. An event stream sends the same codes in its last event. */

/**
 * Every close code that a client can see. docs/protocol.md has the same list for client authors, compared by a test.
 * Codes below 3000 are those of RFC 6455 section 7.4.1 and its IANA registry; 4000 to 4999 are ours.
 */
export const closeCode = {
  /** The client closed, or the server has nothing more to send: "ended" where every topic has ended. Come back: as you like; not after "ended". */
  normal: 1000,
  /** The server stops. Come back: as you like. */
  goingAway: 1001,
  /** A frame breaks RFC 6455. Sent by Bun itself. Come back: after a fix. */
  protocolError: 1002,
  /** No Close frame came: the connection was lost, refused, or cut for reading too slowly. Come back: with backoff. */
  abnormal: 1006,
  /** A text frame is not UTF-8. Sent by Bun itself. Come back: after a fix. */
  notUtf8: 1007,
  /** The client broke a rule; the reason names it. Come back: after a fix. */
  policyViolation: 1008,
  /** A message is larger than `--max-message`. Come back: after a fix. */
  tooBig: 1009,
  /** A fault of the server. Come back: with backoff. */
  serverFault: 1011,
  /** This node is draining. Come back: at once, to another node. */
  serviceRestart: 1012,
  /** A limit is reached that time mends, or the engine is away. Come back: with backoff. */
  tryAgainLater: 1013,
  /** The token is missing, wrong or expired. Come back: with a new token. */
  unauthorized: 4401,
  /** The token does not allow this. Come back: no. */
  forbidden: 4403,
  /** The client published to a topic that has ended. Come back: yes, without publishing to it. */
  ended: 4409,
  /** A raw socket cannot be told of a gap, so it cannot resume after this id. Come back: without `since`. */
  cannotResume: 4410,
} as const;
