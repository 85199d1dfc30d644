/** What clients send on WebSockets, and where it waits. */

/** Text or binary. */
export type ReceivedFrame = string | Buffer<ArrayBuffer>;

/** Frames that Bun had read before the pause of their socket. */
export class WaitingFrames {
  /** Bun has answered them. They wait only in number, because to read them took time from others. */
  pings = 0;
  /** How many reasons there are to hold them back. */
  holds = 0;
  /** One of them: the client does not take what it is sent. */
  isHeldForUnsent = false;
  #frames: ReceivedFrame[] = [];
  #next = 0;

  get isEmpty(): boolean {
    return this.pings <= 0 && this.#next === this.#frames.length;
  }

  add(frame: ReceivedFrame): void {
    this.#frames.push(frame);
  }

  take(): ReceivedFrame | undefined {
    if (this.#next === this.#frames.length) return undefined;
    const frame = this.#frames[this.#next++];
    if (this.#next === this.#frames.length) {
      this.#frames = [];
      this.#next = 0;
    }
    return frame;
  }
}
