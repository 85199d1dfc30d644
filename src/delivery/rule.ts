/**
 * When a reader is cut: the whole rule. Its numbers are in settings/limits.ts, and what follows from them for one handler in
 * buffer-limits.ts.
 *
 * An example with `--max-buffered` 2 MiB. A reader stalls. It is given 40 messages of 64 KiB, 2.5 MiB in all, of which the
 * kernel takes 0.25 MiB: it holds 2.25 MiB. Without the last message it holds 2.19 MiB, more than the limit, so it is given
 * no 41st message and is cut. Another reader is given one message of 6 MiB and holds 5 MiB of it. Without that message it
 * holds nothing, so it is given the next. It also keeps up while 40 small messages follow and it still holds a part of the
 * large one. Once it holds less than what followed the large message, only the limit and the last message count again.
 *
 * Before that, at half of the limit, a reader lags: publishers to its topic wait until it has taken more, at most so long
 * that 2 MiB a second are published to the topic. So a burst to one topic cuts no reader that takes so many, a stalled one
 * keeps publishers waiting for half a second, in which it is given the second half of its limit, and one that lags on purpose
 * slows down nobody who publishes less. Messages that other nodes publish do not wait.
 */

/** What all readers of one topic in one form were given. */
export class Given {
  /** Bytes of the last frame. */
  lastBytes = 0;
  /** Bytes of the last frame that was larger than half of the limit. */
  largeBytes = 0;
  /** Bytes of all frames after that one. */
  afterLargeBytes = 0;

  add(frameBytes: number, limitBytes: number): void {
    this.lastBytes = frameBytes;
    if (frameBytes > limitBytes / 2) {
      this.largeBytes = frameBytes;
      this.afterLargeBytes = 0;
    } else this.afterLargeBytes += frameBytes;
  }
}

/**
 * Whether a reader is too slow to be given another message. The size of one message never makes it so: neither the last one
 * counts, nor the last large one while a part of it is held.
 * @param unsentBytes given to the reader and not sent
 * @param limitBytes `--max-buffered`; a part of it for whether a reader lags, so that publishers wait for it
 */
export function isTooSlow(
  unsentBytes: number,
  { lastBytes, largeBytes, afterLargeBytes }: Given,
  limitBytes: number,
): boolean {
  const exemptBytes = unsentBytes > afterLargeBytes ? Math.max(lastBytes, largeBytes) : lastBytes;
  return unsentBytes - exemptBytes > limitBytes;
}

/**
 * Whether all connections together may be given so much more.
 * @param heldBytes by all of them
 * @param addedBytes a frame's bytes times its readers
 * @param limitBytes `--max-buffered-total`
 */
export function mayHold(heldBytes: number, addedBytes: number, limitBytes: number): boolean {
  return heldBytes + addedBytes <= limitBytes;
}
