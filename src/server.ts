/** A server of its own: where it listens, what it serves beside the handler, and how it is drained, stopped and renewed. */
import { resolve } from "node:path";
import type { Access, AccessKeys } from "./access/access.ts";
import type { Authorize } from "./access/permissions.ts";
import { assemble, type Parts } from "./assembly.ts";
import { watchDescriptors } from "./connection/descriptors.ts";
import { notFound } from "./endpoint/not-found.ts";
import { Operations } from "./endpoint/operations/operations.ts";
import { listenOptions, operationsListenOptions, readCertificate, requireLoopback } from "./http/listener.ts";
import { loadedHandlers } from "./http/loaded.ts";
import { guardHost, guardOrigin, isLoopback } from "./http/origin.ts";
import { logRefusals } from "./http/refusal-log.ts";
import { RenewableServer } from "./http/renewable-server.ts";
import type { Handler } from "./http/request-context.ts";
import { routeOf, routesOf } from "./http/routes.ts";
import { isWritingLogger, type Logger } from "./log.ts";
import { type Config, ConfigError, type Setting, settings } from "./settings/config.ts";
import { stopSecondsMax } from "./settings/limits.ts";
import { checkServerRelations, hasKeys } from "./settings/relations.ts";

/** A server that listens. `LongwireServer` says what its functions do. */
export type RunningServer = Awaited<ReturnType<typeof startServer>>;

/**
 * If it cannot listen, everything that it has opened is released.
 * @throws as `createServer` does
 */
export async function startServer(config: Config, log: Logger, authorize: Authorize | undefined) {
  checkServerRelations(config);
  // Before anything is opened or made.
  if (!hasKeys(config) && !authorize && !config.insecure) requireLoopback(config);
  const addresses = { operations: await operationsListenOptions(config), main: await listenOptions(config) };
  // Holds what has to be released if the server cannot listen.
  await using unlessListening = new AsyncDisposableStack();
  const parts = unlessListening.use(assemble(config, "", log, authorize));
  const operations = unlessListening.use(new Operations(parts));
  const { connections, counters } = parts;
  const routes = routesWith(config, parts);
  if (addresses.operations) {
    const separate = Bun.serve({ ...routes(operations.handlers), ...addresses.operations });
    unlessListening.defer(() => separate.stop(true));
  }
  const main = routes({
    ...handlersOf(parts),
    ...(addresses.operations ? {} : operations.handlers),
  });
  const server = await RenewableServer.listen(addresses.main, (options) =>
    // Endless: over its own limit Bun refuses without a word, and to a page without CORS. publish.ts holds the limit, and of a
    // body that nobody reads Bun keeps nothing.
    Bun.serve({ ...main, ...options, maxRequestBodySize: Number.MAX_SAFE_INTEGER }),
  );
  const url = config.unixSocket ? new URL(`unix://${resolve(config.unixSocket)}`) : server.url;
  const running = unlessListening.move();
  logStart(config, parts, log);

  const refusalLog = logRefusals(counters, log);
  const descriptors = watchDescriptors(() => server.closeIdleConnections(), counters, parts.log);
  let stopped: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    const ended = server.stop();
    await running.disposeAsync();
    refusalLog[Symbol.dispose]();
    descriptors[Symbol.dispose]();
    await Promise.race([ended, Bun.sleep(stopSecondsMax * 1000)]);
    await server.stop(true);
  };
  const stop = (): Promise<void> => {
    stopped ??= end();
    return stopped;
  };
  const drain = async (): Promise<void> => {
    const { drainDelaySeconds, drainWindowSeconds } = config;
    log.info({ drainDelaySeconds, drainWindowSeconds, connections: connections.count }, "draining");
    connections.beginDraining();
    await Bun.sleep(drainDelaySeconds * 1000);
    const ended = server.stop(); // Takes no new connection; answers under way are finished.
    await parts.drain();
    await Promise.race([ended, Bun.sleep(stopSecondsMax * 1000)]);
  };
  const reload = (keys: Partial<AccessKeys>): Promise<void> =>
    reloadFiles(config, keys, parts.access, server);
  return { parts, url, drain, stop, reload };
}

/** @throws {ConfigError} before anything is changed */
async function reloadFiles(
  config: Config,
  keys: Partial<AccessKeys>,
  access: Access,
  server: RenewableServer,
): Promise<void> {
  const { tlsCertificateFile, tlsKeyFile, unixSocket } = config;
  if (tlsCertificateFile && unixSocket)
    throw new ConfigError("A certificate that is served on a socket file is taken over only by a restart");
  const certificate = tlsCertificateFile && (await readCertificate(tlsCertificateFile, tlsKeyFile));
  access.useKeys(keys);
  if (certificate) server.renew(certificate);
}

function logStart(config: Config, parts: Parts, log: Logger): void {
  const { connectionsMax } = parts.connections;
  const inForceNow = { ...inForce(config), connectionsMax, isOpen: isOpen(parts, config) };
  // On a terminal it is a line for each of 40 settings.
  if (isWritingLogger(log) && log.isOnTerminal) log.debug(inForceNow, "listening");
  else log.info(inForceNow, "listening");
  const { host, port, unixSocket } = config;
  if (parts.access.isOpen && !unixSocket && !isLoopback(host))
    log.warn(
      { host, port },
      "open to other machines, without a key: everyone who reaches this address may publish, subscribe and end topics",
    );
}

const isOpen = ({ access }: Parts, { insecure }: Config): boolean => access.isOpen && !insecure;

/** Makes of handlers what `Bun.serve` takes. */
function routesWith(config: Config, parts: Parts) {
  const { refusals, log } = parts;
  const isGuarded = isOpen(parts, config);
  const common = {
    // By default a compiled binary is in development, too, and shows its source in an error answer.
    development: false,
    fetch: routeOf(notFound, refusals),
    error: (error: Error) => refusals.of(error).response(),
    websocket: parts.websocket(),
  };
  return (handlers: Readonly<Record<string, Handler>>) => {
    const guarded = Object.entries(handlers).map(([path, handler]) => [
      path,
      isGuarded ? guardHost(handler, { config, log }) : handler,
    ]);
    return { ...common, routes: routesOf(Object.fromEntries(guarded), refusals) };
  };
}

/** What a server has beside the endpoints for operators. */
function handlersOf(parts: Parts): Record<string, Handler> {
  const status = async (): Promise<Handler> => (await import("./endpoint/status.ts")).statusEndpoint(parts);
  return {
    ...loadedHandlers(documentPaths, () => loadDocuments(parts)),
    ...loadedHandlers(["/status"], async () => ({ "/status": guardOrigin(await status(), parts) })),
    ...parts.handlers,
  };
}

/** The page, and what the server says of itself without a browser. */
const documentPaths = [
  "/",
  "/longconnecthtml",
  "/docs",
  "/page.js",
  "/page.css",
  "/icon.svg",
  "/client.js",
  "/llms.txt",
  "/openapi.json",
  "/asyncapi.json",
] as const;

async function loadDocuments(parts: Parts) {
  const [{ documentHandlers, frontText }, { pageHandlers }] = await Promise.all([
    import("./endpoint/documents.ts"),
    import("./endpoint/page.ts"),
  ]);
  const presence = !parts.hub.members ? "none" : parts.access.isOpen ? "open" : "token";
  const pages = pageHandlers((context) => frontText(parts, context), presence);
  return { ...pages, ...documentHandlers({ pages, ...parts }) };
}

/** Every setting, for the log. Secrets are only counted. */
function inForce(config: Config): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(settings).map(([name, { unit }]: [string, Setting<unknown>]) => [
      name,
      unit.logged(config[name as keyof Config]),
    ]),
  );
}
