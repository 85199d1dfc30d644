/** The lines of the log about each connection, at the debug level. */
import type { Logger } from "../log.ts";
import type { OpenConnection } from "./connection.ts";

export function logOpened(log: Logger, connection: OpenConnection): void {
  log.debug({ ...described(connection), ...connection.purpose() }, "connection opened");
}

/** @param end the code and the reason, where they are known */
export function logClosed(
  log: Logger,
  connection: OpenConnection,
  end: { readonly code?: number; readonly reason?: string } = {},
): void {
  const seconds = (performance.now() - connection.openedMilliseconds) / 1000;
  log.debug(
    { ...described(connection), ...connection.purpose(), seconds: Number(seconds.toFixed(3)), ...end },
    "connection closed",
  );
}

const described = ({ number, clientAddress, kind }: OpenConnection): object => ({
  connection: number,
  address: clientAddress.address,
  form: kind,
});
