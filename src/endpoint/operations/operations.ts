/** The endpoints for operators: /healthz, /readyz and /metrics. docs/operations.md documents every metric. */
import { loadedHandlers } from "../../http/loaded.ts";
import { methods } from "../../http/methods.ts";
import type { Handler } from "../../http/request-context.ts";
import { EventLoopDelay } from "../../metrics.ts";
import { readinessMilliseconds } from "../../settings/limits.ts";
import type { MetricsDeps } from "./metrics.ts";

/** The endpoints and their timers. Dispose it with the server. */
export class Operations implements Disposable {
  readonly handlers: Readonly<Record<string, Handler>>;
  readonly #deps: MetricsDeps;
  readonly #delay = new EventLoopDelay();
  /** Stays true: if the engine is away later, all nodes at once would go out of service. `isSuperseded` is one node's alone. */
  #wasReached = false;
  #readinessTimer: Timer | undefined;

  constructor(deps: MetricsDeps) {
    this.#deps = deps;
    const plain = { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" };
    this.handlers = {
      "/healthz": methods({ GET: () => new Response("alive\n", { headers: plain }) }),
      "/readyz": methods({ GET: () => this.#readiness() }),
      ...loadedHandlers(["/metrics"], async () => {
        const { metricsEndpoint } = await import("./metrics.ts");
        return { "/metrics": metricsEndpoint(deps, this.#delay) };
      }),
    };
    // Without this an engine that was reached only between two probes would leave the node out of service.
    if (!this.#reach())
      this.#readinessTimer = setInterval(() => this.#reach(), readinessMilliseconds).unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#readinessTimer);
    this.#delay[Symbol.dispose]();
  }

  #reach(): boolean {
    this.#wasReached ||= this.#deps.engine.broker.state.available;
    if (this.#wasReached) clearInterval(this.#readinessTimer);
    return this.#wasReached;
  }

  #readiness(): Response {
    const { engine, connections } = this.#deps;
    const draining = connections.isDraining;
    const { available, reason, delaySeconds, isSuperseded = false } = engine.broker.state;
    const ready = this.#reach() && !draining && !isSuperseded;
    const state = available ? (reason === undefined ? "available" : "read-only") : "away";
    const body = { ready, draining, broker: state, reason, delaySeconds };
    return Response.json(body, { status: ready ? 200 : 503, headers: { "Cache-Control": "no-store" } });
  }
}
