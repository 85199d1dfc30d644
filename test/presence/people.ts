/** People with lines to the nodes of a cluster, and what is known of each line by who holds its other end. */

import type { NodeAddress } from "../chaos/client.ts";
import { ws } from "../support/clients.ts";
import type { Random } from "../support/random.ts";

/** A node as people see it. */
export interface Door extends NodeAddress {
  /** Set while its process stands still, and after it: nobody knows what it thinks of the lines that it had by then. */
  stoodStill: boolean;
}

/** One connection of a member, and when it was open, in milliseconds since 1970. */
interface Line {
  readonly door: Door;
  readonly openedMilliseconds: number;
  closedMilliseconds: number;
  close(): void;
}

const connectMilliseconds = 5000;

export class Person {
  /** All that there ever were. */
  readonly lines: Line[] = [];

  constructor(
    readonly key: string,
    readonly topic: string,
  ) {}

  get open(): readonly Line[] {
    return this.lines.filter(({ closedMilliseconds }) => closedMilliseconds === Number.POSITIVE_INFINITY);
  }

  /** Opens a WebSocket and an event stream by turns. @returns whether the line is open: its node may be away */
  async come(door: Door): Promise<boolean> {
    const path = `/topics/${this.topic}?member=${encodeURIComponent(this.key)}`;
    const opened = await (this.lines.length % 2 === 0 ? openSocket : openStream)(door, path);
    if (!opened) return false;
    const { close, closed } = opened;
    const line: Line = {
      ...{ door, close },
      openedMilliseconds: Date.now(),
      closedMilliseconds: Number.POSITIVE_INFINITY,
    };
    this.lines.push(line);
    void closed.then(() => {
      line.closedMilliseconds = Date.now();
    });
    return true;
  }

  /** Closes a line and opens another one at once, as a reload of a page does. */
  async flap(random: Random, doors: readonly Door[]): Promise<void> {
    const line = this.open[0];
    if (!line) return;
    line.close();
    for (let tries = 0; tries < 5; tries++) if (await this.come(random.pick(doors))) return;
  }

  /**
   * Whether a line was open, by the node that has it, during a whole time.
   * @param from in milliseconds since 1970
   */
  wasHere(from: number, to: number): boolean {
    return this.lines.some(
      ({ door, openedMilliseconds, closedMilliseconds }) =>
        !door.stoodStill && openedMilliseconds < from && closedMilliseconds > to,
    );
  }
}

interface OpenedLine {
  readonly closed: Promise<void>;
  close(): void;
}

/** @returns undefined where the node does not answer, or refuses it */
async function openSocket(door: Door, path: string): Promise<OpenedLine | undefined> {
  const socket = new ws.WebSocket(door.socketUrl(path), ["cloudevents.json"], {
    handshakeTimeout: connectMilliseconds,
  });
  const opened = Promise.withResolvers<boolean>();
  const closed = Promise.withResolvers<void>();
  socket.on("error", () => opened.resolve(false));
  socket.once("open", () => opened.resolve(true));
  socket.once("close", () => closed.resolve());
  return (await opened.promise) ? { closed: closed.promise, close: () => socket.terminate() } : undefined;
}

/** The same. A stream that is refused ends before its first event. */
async function openStream(door: Door, path: string): Promise<OpenedLine | undefined> {
  const ending = new AbortController();
  const slow = setTimeout(() => ending.abort(), connectMilliseconds);
  const headers = { Accept: "text/event-stream" };
  try {
    const response = await fetch(new URL(path, door.url), { headers, signal: ending.signal });
    const reader = response.body?.getReader();
    const first = await reader?.read();
    if (!reader || !new TextDecoder().decode(first?.value).includes("longwire.open")) return undefined;
    const readToEnd = async (): Promise<void> => {
      while (!(await reader.read()).done);
    };
    const closed = readToEnd().catch(() => undefined); // It broke off, which is an end, too.
    return { closed, close: () => ending.abort() };
  } catch {
    return undefined; // The node is away.
  } finally {
    clearTimeout(slow);
  }
}
