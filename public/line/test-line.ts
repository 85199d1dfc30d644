/** A line to test with: what is sent, what comes back, and how long that took. */
import { signal } from "@preact/signals";
import { isOwnServer, withToken } from "../ground/address.ts";
import { tokenWanted } from "../ground/settings.ts";
import { words } from "../ground/words.ts";
import type { Data } from "../log/entry.ts";
import { LogStore } from "../log/store.ts";
import { describeEnding, EndingNotes } from "./endings.ts";
import { Line, type LineState } from "./line.ts";
import { addressText, ownAddress, protocolsText, readAddress, readProtocols } from "./target.ts";

const greeting = "Hello WebSockets!";

/** Unsent bytes with which repeated sending waits: a slow network must not fill the memory of the tab. */
const unsentBytesMax = 1024 * 1024;

export class TestLine {
  readonly log = new LogStore();
  readonly state = signal<LineState>({ name: "closed", ending: undefined });
  readonly roundTripMilliseconds = signal<number | undefined>(undefined);
  readonly url = signal<URL | undefined>(undefined);
  readonly fault = signal("");
  /** The server answers requests, but refused this connection. */
  readonly isRefused = signal(false);
  readonly line: Line;
  readonly #endings = new EndingNotes(this.log);
  #protocols: readonly string[] = [];
  #unsentBytes: () => number = () => 0;
  #wasOpen = false;
  /** The send time of each unanswered message, oldest first: an echo line answers every message, in order. */
  #sentAtMilliseconds: number[] = [];

  constructor() {
    this.line = new Line({
      dial: () => this.#dial(),
      heartbeat: {
        message: "ping",
        isNeeded: () => this.#isOwnEcho,
        isAnswer: (data) => data === "pong",
        onRoundTrip: (milliseconds) => {
          this.roundTripMilliseconds.value = milliseconds;
        },
      },
      onState: (state) => this.#stateChanged(state),
      onMessage: (data) => this.#received(data),
    });
  }

  get isUnused(): boolean {
    return this.url.peek() === undefined;
  }

  /** Connects to the typed address. */
  connect(): void {
    const say = words.peek();
    const url = readAddress(addressText.peek());
    this.fault.value = url ? "" : say.addressFault;
    if (!url) return;
    this.url.value = url;
    this.#protocols = readProtocols(protocolsText.peek());
    try {
      this.line.connect();
    } catch (error) {
      this.fault.value = error instanceof Error ? error.message : String(error);
    }
  }

  /** @returns whether it could be sent now */
  send(data: Data): boolean {
    if (this.#unsentBytes() > unsentBytesMax) return false;
    const now = performance.now();
    if (!this.line.send(data)) return false;
    if (this.#isOwnEcho) this.#sentAtMilliseconds.push(now);
    this.log.add({ kind: "sent", time: Date.now(), data });
    return true;
  }

  get #isOwnEcho(): boolean {
    return this.url.peek()?.href === ownAddress.href;
  }

  #dial(): WebSocket {
    const url = this.url.peek() ?? ownAddress;
    const socket = new WebSocket(url, [...(isOwnServer(url) ? withToken(this.#protocols) : this.#protocols)]);
    this.#unsentBytes = () => socket.bufferedAmount;
    this.#wasOpen = false;
    return socket;
  }

  #stateChanged(state: LineState): void {
    this.state.value = state;
    this.#endings.changed(state);
    if (state.name === "open") {
      this.#wasOpen = true;
      this.isRefused.value = false;
      this.#sentAtMilliseconds = [];
      this.log.note(words.peek().noteOpen);
      if (this.#isOwnEcho) this.send(greeting);
    }
    if (!("ending" in state) || !state.ending) return;
    if (state.ending.code === 4401) tokenWanted.value = describeEnding(state.ending, words.peek());
    if (!this.#wasOpen && state.ending.cause === "remote") void this.#askWhetherRefused();
  }

  #received(data: Data): void {
    const sentAt = this.#sentAtMilliseconds.shift();
    if (sentAt === undefined) {
      this.log.add({ kind: "received", time: Date.now(), data });
      return;
    }
    const roundTripMilliseconds = performance.now() - sentAt;
    this.roundTripMilliseconds.value = roundTripMilliseconds;
    this.log.add({ kind: "received", time: Date.now(), data, roundTripMilliseconds });
  }

  /** A browser reports a refused handshake like a lost network. If the server answers a plain request, it refused. */
  async #askWhetherRefused(): Promise<void> {
    const url = new URL(this.url.peek() ?? ownAddress);
    url.protocol = url.protocol === "wss:" ? "https:" : "http:";
    try {
      await fetch(url, { mode: "no-cors", method: "HEAD", credentials: "omit" });
      this.isRefused.value = true;
    } catch {
      this.isRefused.value = false; // It does not answer at all.
    }
  }
}
