/** How many unsent bytes a socket may hold, for Longwire and for Bun, and how many all connections together. */
import { totalmem } from "node:os";
import {
  checkedShare,
  envelopeBytesMax,
  gatheredBytesMax,
  totalBytesMin,
  totalMemoryShare,
  waitingBytesCap,
  waitingShare,
} from "../settings/limits.ts";

/** The largest message as base64 in a CloudEvent, with room for the attributes. */
const encodedBytesMax = (messageBytesMax: number): number =>
  Math.ceil((messageBytesMax * 4) / 3) + envelopeBytesMax;

export interface BufferLimits {
  /** Unsent bytes beyond which a subscriber is cut. Never less than one encoded message. */
  readonly bufferedBytesMax: number;
  /** Bytes that may be published between two checks of the subscribers. Small beside the limit, so that it holds. */
  readonly checkEveryBytes: number;
  /** Unsent bytes of all connections together. */
  readonly totalBytesMax: number;
  /** Frames of a topic that wait for its sockets one by one (sliced-delivery.ts). Past it publishers wait for them. */
  readonly waitingBytesMax: number;
  /** Bun's own limit, at which it drops messages in silence. No subscriber reaches it, because it is cut before. */
  readonly backpressureBytesMax: number;
}

export function bufferLimits(config: {
  readonly bufferedBytesMax: number;
  readonly bufferedBytesTotalMax: number;
  readonly messageBytesMax: number;
}): BufferLimits {
  const frameBytesMax = encodedBytesMax(config.messageBytesMax);
  const bufferedBytesMax = Math.max(config.bufferedBytesMax, frameBytesMax);
  const checkEveryBytes = Math.ceil(bufferedBytesMax * checkedShare);
  const backpressureBytesMax = bufferedBytesMax + checkEveryBytes + gatheredBytesMax + frameBytesMax;
  const memoryBytes = process.constrainedMemory() || totalmem();
  const totalBytesMax =
    config.bufferedBytesTotalMax || Math.max(totalBytesMin, Math.floor(memoryBytes * totalMemoryShare));
  const waitingBytesMax = Math.min(waitingBytesCap, totalBytesMax * waitingShare);
  return { bufferedBytesMax, checkEveryBytes, totalBytesMax, waitingBytesMax, backpressureBytesMax };
}
