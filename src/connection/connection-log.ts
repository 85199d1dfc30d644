/** The lines of the log about each connection, at the debug level. */
import type { Logger } from "../log.ts";
import type { OpenConnection } from "./connection.ts";

export function logOpened(log: Logger, connection: OpenConnection): void {
  log.debug(described(connection), "connection opened");
}

/** @param end the code and the reason, where they are known */
export function logClosed(
  log: Logger,
  connection: OpenConnection,
  end: { readonly code?: number; readonly reason?: string } = {},
): void {
  const seconds = Math.round(performance.now() - connection.openedMilliseconds) / 1000;
  log.debug({ ...described(connection), seconds, ...end }, "connection closed");
}

function described(connection: OpenConnection): object {
  const { number, clientAddress, kind } = connection;
  const { sub, topics } = connection.purpose();
  return { connection: number, address: clientAddress.address, form: kind, sub, topics };
}
