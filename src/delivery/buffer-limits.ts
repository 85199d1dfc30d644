/** How many unsent bytes a socket may hold, for Longwire and for Bun, and how many all connections together. */
import { totalmem } from "node:os";
import {
  aheadShare,
  checkedShare,
  envelopeBytesMax,
  formGrowthMax,
  gatheredBytesMax,
  laggingBytesPerSecond,
  laggingShare,
  replayAheadBytesCap,
  stepBytesCap,
  streamGatheredBytesCap,
  totalBytesMin,
  totalMemoryShare,
  waitingBytesCap,
  waitingShare,
} from "../settings/limits.ts";

/** The largest message as a frame: JSON writes a control character as six. */
const frameBytesMaxOf = (messageBytesMax: number): number => 6 * messageBytesMax + envelopeBytesMax;

export interface BufferLimits {
  /**
   * `--max-buffered`: a subscriber is cut if it holds more than this unsent before a publish. One message that is large, or
   * that grows in a form, cuts no reader that had caught up (rule.ts).
   */
  readonly bufferedBytesMax: number;
  /** Bytes that may be published between two checks of the subscribers. Small beside the limit, so that it holds. */
  readonly checkEveryBytes: number;
  /** Bytes of several messages of one request that are published in one step (endpoint/topics/item-publisher.ts). */
  readonly stepBytesMax: number;
  /** A reader that holds more unsent lags, and publishers wait for it. */
  readonly laggingBytes: number;
  /** The least time in which a topic's readers are given `checkEveryBytes` while one of them lags. */
  readonly laggingMilliseconds: number;
  /** A replay pauses while at least so many bytes are unsent. */
  readonly replayAheadBytes: number;
  /** So many bytes that are gathered for an event stream do not wait for the end of the turn. */
  readonly streamGatheredBytes: number;
  /** Unsent bytes of all connections together. */
  readonly totalBytesMax: number;
  /** Copies of a topic's messages that wait to be given in slices (sliced-delivery.ts). Past it publishers wait for them. */
  readonly waitingBytesMax: number;
  /** Bun's own limit, at which it drops messages in silence. No subscriber reaches it, because it is cut before. */
  readonly backpressureBytesMax: number;
}

export function bufferLimits(config: {
  readonly bufferedBytesMax: number;
  readonly bufferedBytesTotalMax: number;
  readonly messageBytesMax: number;
}): BufferLimits {
  const { bufferedBytesMax } = config;
  const frameBytesMax = frameBytesMaxOf(config.messageBytesMax);
  const checkEveryBytes = Math.ceil(bufferedBytesMax * checkedShare);
  // Twice: a subscriber that holds one large message and is not cut may be given another.
  const backpressureBytesMax = bufferedBytesMax + checkEveryBytes + gatheredBytesMax + 2 * frameBytesMax;
  const memoryBytes = process.constrainedMemory() || totalmem();
  const totalBytesMax =
    config.bufferedBytesTotalMax || Math.max(totalBytesMin, Math.floor(memoryBytes * totalMemoryShare));
  const waitingBytesMax = Math.min(waitingBytesCap, totalBytesMax * waitingShare);
  return {
    bufferedBytesMax,
    checkEveryBytes,
    laggingBytes: bufferedBytesMax * laggingShare,
    laggingMilliseconds: (checkEveryBytes / laggingBytesPerSecond) * 1000,
    stepBytesMax: Math.min(stepBytesCap, checkEveryBytes / formGrowthMax),
    replayAheadBytes: Math.min(replayAheadBytesCap, bufferedBytesMax * aheadShare),
    streamGatheredBytes: Math.min(streamGatheredBytesCap, bufferedBytesMax * aheadShare),
    totalBytesMax,
    waitingBytesMax,
    backpressureBytesMax,
  };
}
