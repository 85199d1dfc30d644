/** Bun's native topics. One publish to a native topic reaches all WebSockets that are subscribed to it. */
import type { Server } from "bun";
import type { Counters } from "../metrics.ts";
import { bytesSent, type Frame } from "./frame.ts";

export class NativeTopics {
  readonly #counters: Pick<Counters, "sentBytes">;
  /** In the names of native topics, because two handlers may share a server and so its native topics. */
  readonly #id = crypto.randomUUID().slice(0, 8);
  #named = 0;
  /** Servers that upgraded one of the sockets. Native topics belong to a server. */
  readonly #servers = new Set<Server<unknown>>();
  /** `publishedBytes` when Bun last reported a socket with unsent bytes. */
  #laggingAtBytes = -1;
  /** Bytes of all frames that topics' readers were given, each once for each form. */
  publishedBytes = 0;

  constructor(counters: Pick<Counters, "sentBytes">) {
    this.#counters = counters;
  }

  /** Must be called before one of the server's sockets becomes live. */
  addServer(server: Server<unknown>): void {
    if (this.#servers.has(server)) return;
    // A renewed certificate is another server. Those that it replaced must not stay when their last socket is gone.
    for (const other of this.#servers) if (other.pendingWebSockets === 0) this.#servers.delete(other);
    this.#servers.add(server);
  }

  /** A name that no other has. Short, because Bun looks a topic up by its name at each publication, and keeps a copy. */
  newName(): string {
    return `${this.#id}${(this.#named++).toString(36)}`;
  }

  /** Whether a socket may hold unsent bytes of what was published later. @param sinceBytes an earlier `publishedBytes` */
  mayLag(sinceBytes: number): boolean {
    return this.#laggingAtBytes >= sinceBytes;
  }

  /**
   * @param sockets that are subscribed to the topic, of all servers
   * @returns false if Bun dropped the frame for a socket, whose buffer is full
   */
  publish(name: string, kind: keyof Counters["sentBytes"], frame: Frame, sockets: number): boolean {
    let isTaken = true;
    for (const server of this.#servers) {
      const subscribers = this.#servers.size === 1 ? sockets : server.subscriberCount(name);
      if (subscribers === 0) continue;
      // Uncompressed, because Bun compresses a published frame once per subscriber.
      const result = server.publish(name, frame, false);
      this.#counters.sentBytes[kind] += subscribers * bytesSent(result, frame);
      if (result > 0) continue;
      this.#laggingAtBytes = this.publishedBytes; // -1: buffered for a socket; 0: dropped, or an empty frame.
      if (result === 0 && frame.length > 0) isTaken = false;
    }
    return isTaken;
  }
}
