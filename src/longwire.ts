/** Longwire as a library: the endpoints joined into routes and one WebSocket handler, alone or within your own server. */
import type { WebSocketHandler } from "bun";
import { type Config, completeConfig, type HandlerConfig, handlerSettings, settings } from "./config.ts";
import { Connections } from "./connection.ts";
import { echoEndpoint } from "./echo.ts";
import { notFound, problem, type Routes } from "./http.ts";
import { createLogger, type Logger } from "./log.ts";
import { pageRoutes } from "./page.ts";

export { type Config, ConfigError, type HandlerConfig } from "./config.ts";
export type { Answer, RequestHandler, Routes } from "./http.ts";
export type { Logger } from "./log.ts";

export interface Options extends HandlerConfig {
  /** Where to mount, such as `/realtime`; begins with a slash and does not end in one. */
  readonly prefix: string;
  /** Takes the log lines; left out, they go to stderr. */
  readonly log: Logger;
}

export interface Longwire extends AsyncDisposable {
  /** `/ping`, beneath the prefix. */
  readonly routes: Routes;
  /** @param yours takes every event of the sockets that you upgraded yourself, within limits at least as wide as Bun's */
  websocket<Data>(yours?: WebSocketHandler<Data>): WebSocketHandler<Data>;
}

export interface LongwireServer extends Longwire {
  readonly url: URL;
  /** Stops accepting, closes every socket with 1001, and resolves when they are gone or after 2 s. */
  stop(): Promise<void>;
}

/** What a closed socket needs to send what it still holds; a peer that does not read is not waited for any longer. */
const stopSecondsMax = 2;

/**
 * Mounts Longwire into your own `Bun.serve({ routes: longwire.routes, websocket: longwire.websocket() })`.
 * Disposing it closes its connections with 1001.
 * @throws {ConfigError}
 */
export function createHandler(options: Partial<Options> = {}): Longwire {
  const { prefix = "", log, ...given } = options;
  const config = completeConfig(handlerSettings, given);
  return mount(config, prefix, log ?? createLogger(config.logLevel));
}

/**
 * Starts a server of its own; `port: 0` takes any free port, told by `url`.
 * @throws {ConfigError}
 * @throws an error with `code` "EADDRINUSE" when the port is taken, and others of listening as Bun throws them
 */
export async function createServer(
  given: Partial<Config> & Partial<Pick<Options, "log">> = {},
): Promise<LongwireServer> {
  const { log: givenLog, ...settingsGiven } = given;
  const config = completeConfig(settings, settingsGiven);
  const log = givenLog ?? createLogger(config.logLevel);
  const longwire = mount(config, "", log);
  const server = Bun.serve({
    hostname: config.host,
    port: config.port,
    // Said, because a compiled binary is otherwise in development too and shows its source in an error answer.
    development: false,
    // Said, because with `development: false` Bun otherwise shares a taken port, and half the connections go elsewhere.
    reusePort: false,
    maxRequestBodySize: config.messageBytesMax,
    routes: { ...pageRoutes(), ...longwire.routes },
    fetch: notFound,
    websocket: longwire.websocket(),
    error: (error) => {
      log.error({ err: error }, "a request failed");
      return problem(500, "A fault of the server; its log has the cause.");
    },
  });

  const stop = async (): Promise<void> => {
    const ended = server.stop();
    await longwire[Symbol.asyncDispose]();
    await Promise.race([ended, Bun.sleep(stopSecondsMax * 1000)]);
    await server.stop(true);
  };
  return { ...longwire, url: server.url, stop, [Symbol.asyncDispose]: stop };
}

function mount(config: HandlerConfig, prefix: string, log: Logger): Longwire {
  const connections = new Connections(config, log);
  return {
    routes: { [`${prefix}/ping`]: echoEndpoint(config) },
    websocket: (yours) => connections.websocket(yours),
    [Symbol.asyncDispose]: async () => connections.closeAll(1001, "the server stops"),
  };
}
