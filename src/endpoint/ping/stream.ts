/** The echo line for clients of server-sent events: the server's time, once a second. */
import type { HttpConnection, HttpHandler } from "../../connection/http-connection.ts";
import { streamRetryMilliseconds } from "../../settings/limits.ts";
import { closeEvent, serverSentEvent } from "../../wire/server-sent-events.ts";

/** A reader that has not taken this much is gone: it is half an hour of events. */
const unsentBytesMax = 64 * 1024;

/** It has no ids: nothing is missed. A client sees at the times of arrival whether something in the way buffers or cuts. */
export const pingStream: HttpHandler = {
  kind: "echo",
  open(connection: HttpConnection): void {
    connection.write(`retry: ${streamRetryMilliseconds}\n${timeEvent()}`);
  },
  tick(connection: HttpConnection): void {
    if (connection.unsentBytes > unsentBytesMax) connection.abandon();
    else connection.write(timeEvent());
  },
  close(connection: HttpConnection, code: number, reason: string): void {
    connection.end(closeEvent(code, reason));
  },
};

const timeEvent = (): string => serverSentEvent(new Date().toISOString());
