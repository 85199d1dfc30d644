/** A listening server whose certificate can be replaced while its connections stay open. */
import type { Server } from "bun";
import type { ListenOptions } from "./listener.ts";

/**
 * Bun ignores another certificate in `server.reload` (oven-sh/bun#43815). So a second server takes over the port, and the
 * first one only finishes what it has. A handshake that is under way in that moment may be reset (measured: 5 of 2,117).
 */
export class RenewableServer {
  readonly #serve: (options: ListenOptions) => Server<unknown>;
  #options: ListenOptions;
  #current: Server<unknown>;
  /** Servers with connections of an earlier certificate. */
  readonly #earlier = new Set<Server<unknown>>();
  #isStopped = false;

  private constructor(options: ListenOptions, serve: (options: ListenOptions) => Server<unknown>) {
    this.#serve = serve;
    this.#options = options;
    this.#current = serve(options);
  }

  /**
   * @param serve calls `Bun.serve`
   * @throws an error of Bun's if it cannot listen
   */
  static async listen(
    options: ListenOptions,
    serve: (options: ListenOptions) => Server<unknown>,
  ): Promise<RenewableServer> {
    if (!options.tls || "unix" in options || options.reusePort) return new RenewableServer(options, serve);
    // A port can be taken over only if it may be shared. So it is first taken alone, which fails if another process has it.
    if (options.port !== 0) await serve(options).stop(true);
    return new RenewableServer({ ...options, reusePort: true }, serve);
  }

  get url(): URL {
    return this.#current.url;
  }

  /**
   * Serves new connections with this certificate. Needs a port.
   * @throws an error of Bun's if it cannot listen; then the earlier certificate stays
   */
  renew(tls: NonNullable<ListenOptions["tls"]>): void {
    const before = this.#current;
    if (this.#isStopped || "unix" in this.#options) return;
    this.#options = { ...this.#options, port: before.port ?? this.#options.port, tls };
    this.#current = this.#serve(this.#options);
    this.#earlier.add(before);
    void before.stop().then(() => this.#earlier.delete(before));
  }

  closeIdleConnections(): number {
    return this.#all().reduce((closed, server) => closed + server.closeIdleConnections(), 0);
  }

  /** Takes no new connection. Resolves when all have ended. @param closesConnections ends them at once */
  async stop(closesConnections = false): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#all().map((server) => server.stop(closesConnections)));
  }

  #all(): Server<unknown>[] {
    return [this.#current, ...this.#earlier];
  }
}
