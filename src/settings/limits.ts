/**
 * The limits that are not settings: unit, value and reason of each, and how they depend on each other.
 *
 * The settings are in config.ts, and relations.ts checks those that depend on each other. What only one layer below this
 * one may know is declared there: topic names, ids and retention in topic/, the memory of stored records in engine/, of
 * encodings in wire/encodings.ts, the waiting lines of the log in log.ts.
 */

const KiB = 1024;
const MiB = 1024 * KiB;

// Connections ————————————————————————————————————————————————————————————————————————————————————————————————————————————

/** File descriptors for everything that is no connection: the listener, logs, libraries, and requests that are refused. */
export const descriptorsReserved = 256;

/** Part of the file descriptors that may be open before the server warns and closes idle HTTP connections. */
export const descriptorsShareMax = 0.8;

/** Connections that may be open where the limit on descriptors is unknown, on a system other than Linux. */
export const connectionsAssumed = 10_000;

/** Fewer connections than that are hardly meant: the server warns at start that `ulimit -n` leaves no more. */
export const connectionsFew = 100;

/** Seconds after which a client that was refused for a limit should try again. */
export const refusedRetrySeconds = 5;

/** Seconds after which a client should try again what failed because the engine was away. */
export const brokerRetrySeconds = 1;

/** Seconds after which Bun ends a status stream whose reader takes nothing: it is written to once a second. */
export const statusSilenceSecondsMax = 30;

/** Longest heartbeat interval, in seconds, with which proxies keep a silent connection: some forget it after 30 s. */
export const heartbeatSecondsAdvised = 30;

// Buffers ————————————————————————————————————————————————————————————————————————————————————————————————————————————————

/**
 * Bytes around the data of a message in a CloudEvent: a topic of 600 bytes twice, once percent-encoded; 1 KiB of attributes,
 * escaped; and the `sub` of a token.
 */
export const envelopeBytesMax = 16 * KiB;

/** Frames that Bun gathers for a socket before it counts them as unsent: at most 32, each under 16 KiB. */
export const gatheredBytesMax = 32 * (16 * KiB + 16);

/** The subscribers are checked each time that this part of `--max-buffered` was published: so far it may be exceeded. */
export const checkedShare = 1 / 8;

/** A reader that holds more than this part of `--max-buffered` lags: publishers to its topics wait for it. */
export const laggingShare = 1 / 2;

/**
 * Bytes a second that are published to a topic while a reader lags: a reader that takes so many is not cut, however fast
 * its topics could be published to, and one that takes nothing slows them down to no less until it is cut.
 */
export const laggingBytesPerSecond = 2 * MiB;

/** Part of the memory that the process may use for the unsent bytes of all connections, and the least for it in bytes. */
export const totalMemoryShare = 1 / 4;
export const totalBytesMin = 64 * MiB;

/**
 * Memory for each unsent byte of a WebSocket. Bun's buffer grows in steps and moves as it grows: 1,500 stalled sockets with
 * 255 MB took 315 MB, and 390 MB at the most.
 */
export const socketMemoryFactor = 4 / 3;

/** Past `--max-buffered-total` readers are cut until this part of it is held, so that the next publish need not cut again. */
export const heldAfterCutShare = 0.9;

/** Copies of one topic's messages that wait for their readers: part of `--max-buffered-total`, and the most in bytes. */
export const waitingShare = 1 / 16;
export const waitingBytesCap = 64 * MiB;

/** Bytes that readers are given at once, a frame's times their number: what the kernel takes in 30 ms. More goes in slices. */
export const atOnceBytesMax = 32 * MiB;

/** Bytes in one slice of a delivery. For so many it looks for memory at once. */
export const sliceBytes = 4 * MiB;

/**
 * Milliseconds of a slice: of a delivery, or of ending the readers that are cut. One reader takes from microseconds to some
 * milliseconds, because Bun moves the unsent bytes of a socket when its buffer grows, and frees them at its end.
 */
export const sliceMilliseconds = 5;

/** Bun's own defaults, in bytes, which the sockets of a program keep when they share a server with Longwire's. */
export const programMessageBytesMax = 16 * MiB;
export const programBufferedBytesMax = 16 * MiB;

/**
 * Bytes that may be unsent to a reader before its replay pauses, and bytes that are gathered for an event stream before
 * they are written amid a turn: so many keep a connection busy, and are little for many at once. Both are at most a part of
 * `--max-buffered`: a reader that has caught up must be far from it.
 */
export const replayAheadBytesCap = 64 * KiB;
export const streamGatheredBytesCap = 512 * KiB;
export const aheadShare = 1 / 2;

/** Frames of a socket that wait to be published. At this number it is held. */
export const publishAheadMax = 64;

// Fairness: work in one turn of the event loop, so that no peer holds it ————————————————————————————————————————————————

/**
 * WebSockets, event streams and polls opened in one turn. To open one and to send its first `replayAheadBytes` takes 0.1
 * to 0.6 ms, so a turn takes 20 ms at most.
 */
export const openingsPerTurnMax = 32;

/** Frames of one socket handled in one turn. Bun reads 512 KiB at once: 75,000 frames of one byte. */
export const framesPerTurnMax = 64;

/** Sockets whose waiting frames are handled in one turn: 512 frames, about 1 ms. */
export const floodingSocketsPerTurnMax = 8;

/** Bytes of all waiting frames. Past it those of a socket are handled at once: memory is worse to lack than time. */
export const waitingFrameBytesMax = 64 * MiB;

/** What Bun takes for a short string, in bytes. */
export const frameOverheadBytes = 64;

/**
 * Items of one stream or batch that are published in one step of the engine, and in one turn: a piece of a body may hold
 * 10,000. In bytes, several are in each form at most `checkedShare` of `--max-buffered`, so that publishers wait for readers
 * that lag before they are cut, and at most a number for which a step holds Redis up for less than 1 ms.
 */
export const stepItemsMax = 64;
export const stepBytesCap = 256 * KiB;

/** Bytes that one byte of a message may take in a form: a line feed 7 in an event stream, a control character 6 in JSON. */
export const formGrowthMax = 7;

/** Connections looked at by the heartbeat in one turn. A ping takes 16 µs, so that is 1 ms. */
export const heartbeatsPerTurnMax = 64;

/** Connections closed in one turn: 1 to 2 ms. */
export const closingsPerTurnMax = 64;

// Requests ———————————————————————————————————————————————————————————————————————————————————————————————————————————————

/** Topics of one WebSocket. Bun takes 16 KB as a request head; more names of average length do not fit. */
export const socketTopicsMax = 100;

/** Topics of one event stream. A browser returns the ids of all of them in one header. */
export const streamTopicsMax = 20;

/**
 * Part of `--history-bytes` that the messages of one request may take, if they are several. The largest alone is bounded by
 * `--max-message`; to 100 topics it would push out what everyone else has published.
 */
export const requestHistoryShare = 1 / 4;

/** Bytes of a body that Bun collects itself, if they are declared: they count as held from the beginning. */
export const wholeBodyBytesMax = 64 * KiB;

/** Bytes of an `Idempotency-Key`. A draft of the IETF names no limit; a longer header would become a store. */
export const idempotencyKeyBytesMax = 255;

/** UTF-16 units of a strange `Last-Event-ID` that are repeated to its sender in `requested`. */
export const requestedLengthMax = 100;

/** Messages in one answer of a poll. An answer is made in one turn of the event loop per page: more would make others wait. */
export const pollMessagesMax = 1000;

/**
 * Bytes of a poll's answer that are given to Bun at once. An answer that is not longer has a Content-Length; of a longer one
 * the next piece follows when the kernel took the one before, so no more than this is held without being counted.
 */
export const answerPieceBytes = 64 * KiB;

/** Seconds that an empty answer of a poll is held back. Proxies end a request that is silent for 60 s. */
export const pollWaitSecondsMax = 60;

/** Milliseconds after which an `EventSource` reconnects. Browsers wait 3 s or longer without it, and a resume is cheap. */
export const streamRetryMilliseconds = 1000;

/** Bun's own default: seconds after which it ends a connection whose request or next request is silent. */
export const requestSilenceSeconds = 10;

/** Bun ends an answer that is silent for longer than this, in seconds; it can be set no higher. */
const answerSilenceSecondsMax = 255;

/** Longest time between two comments of a silent event stream, in seconds, whatever `--heartbeat-interval` is. */
export const streamIntervalSecondsMax = 120;

// Tokens —————————————————————————————————————————————————————————————————————————————————————————————————————————————————

/** UTF-16 units of a token. Real tokens are shorter; checking a longer one would only cost time. */
export const tokenLengthMax = 8192;

/** Tokens whose permissions are kept: about 1 KiB each. The oldest that was not presented again is dropped first. */
export const keptTokensMax = 10_000;

/** Age in seconds from which published keys are fetched again. Until that succeeds they stay valid. */
export const keysRefreshSeconds = 600;

/** Seconds between a fetch of published keys and one for a key that it did not bring: strangers can invent unknown keys. */
export const keysCooldownSeconds = 30;

/** Seconds between a failed fetch of published keys and the next. */
export const keysRetrySeconds = 2;

/**
 * Bytes of one answer with published keys. A hundred keys with their certificates are less, and the answer is parsed in one
 * turn of the event loop.
 */
export const keysAnswerBytesMax = 1 * MiB;

/** Seconds until the expiry of a token that `longwire token` makes: ten years. */
export const madeTokenSecondsMax = 10 * 365 * 86_400;

// Start and stop —————————————————————————————————————————————————————————————————————————————————————————————————————————

/** How often the engine is asked whether it was reached, until it was: milliseconds. */
export const readinessMilliseconds = 100;

/** Milliseconds between two steps of closing all connections. */
export const closingStepMilliseconds = 20;

/**
 * Milliseconds in which a client answers the ping before a Close frame, or takes some of its unsent bytes. Then it is closed
 * without the pong.
 */
export const closeWaitMilliseconds = 2000;

/** How often that time is given to a client that takes some. A line must not outlive its token for as long as it likes. */
export const closeWaitsMax = 5;

/**
 * Age in milliseconds up to which a page may not have seen its line open when the pong comes, and how long the Close frame
 * waits for it. Firefox answers a ping in another process than that of the page: at once after the pong 1 of 60 pages on a
 * busy machine missed `onopen`, after 50 ms none of 80.
 */
export const youngLineMilliseconds = 1000;
export const closeSettleMilliseconds = 250;

/** Seconds that a client with unsent bytes has to take them before its connection is closed. */
export const unsentSecondsMax = 1;

/** Seconds that a stopped server waits for answers under way. A peer that does not read is not waited for any longer. */
export const stopSecondsMax = 2;

/** Seconds that the start lines wait for Redis or the disk, before they say that it is away. */
export const engineWaitSecondsMax = 1;

/** Seconds that the process waits at its end for the reader of its log. */
export const flushSecondsMax = 1;

assertRelation(
  unsentSecondsMax < stopSecondsMax,
  "connections are closed before the server stops waiting for them",
);
assertRelation(
  2 * streamIntervalSecondsMax < answerSilenceSecondsMax,
  "a stream survives a comment that was late",
);
assertRelation(
  keysRetrySeconds < keysCooldownSeconds && keysCooldownSeconds < keysRefreshSeconds,
  "fetches that fail are repeated soonest",
);
assertRelation(
  aheadShare + checkedShare < 1,
  "a reader at the end of its replay is not cut for what is published until the next check",
);
assertRelation(
  aheadShare <= laggingShare && laggingShare + checkedShare < 1,
  "a reader lags only by live messages, and publishers wait for it before it is cut",
);
assertRelation(streamTopicsMax <= socketTopicsMax, "what a stream may subscribe to a socket may, too");

/** A limit that was changed without those that depend on it ends the start. */
function assertRelation(holds: boolean, relation: string): void {
  if (!holds) throw new Error(`the limits contradict each other; it must hold that ${relation}`);
}

/** `longwire check`: what a person waits for a transport before it counts as stuck. */
export const checkPatienceSeconds = 10;

/** `longwire check --messages`: their numbers are held in memory. */
export const checkMessagesMax = 10_000_000;

/** `longwire check --idle`: a day, as no proxy waits for longer. */
export const checkIdleSecondsMax = 24 * 60 * 60;
