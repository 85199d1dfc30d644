/** Opens the connections of the topics panel: with each message as it was published, and with round trips. */
import type { FollowedMessage, Open } from "../../src/client/client.ts";
import { overSocket, overStream, request } from "../../src/client/transport.ts";
import { asSocketUrl, withToken } from "../ground/address.ts";
import type { Data } from "../log/entry.ts";
import type { Choice } from "./choice.ts";
import { readEvent } from "./events.ts";

export interface TransportEvents {
  /** @param lost ends the connection, and says when the next one is to come */
  connecting(url: URL, lost: Parameters<Open>[2]): void;
  /** Comes before the client's own `onOpen`. */
  opening(event: FollowedMessage): void;
  roundTrip(milliseconds: number): void;
}

export function transportOf({ topics, form }: Choice, on: TransportEvents): Open {
  return ({ isStream, url, token, signal }, receive, lost) => {
    on.connecting(isStream ? url : asSocketUrl(url), lost);
    let pingedAt: number | undefined;
    const take = (event?: FollowedMessage): void => {
      if (event?.type === "longwire.open") on.opening(event);
      if (event?.type === "longwire.pong" && pingedAt !== undefined) {
        on.roundTrip(performance.now() - pingedAt);
        pingedAt = undefined;
      }
      receive(event?.type === "longwire.pong" ? undefined : event); // That of a raw socket has a topic, as a message.
    };
    if (isStream) {
      const asked = request(url, token, signal, "text/event-stream");
      return overStream(asked, (data) => take(data === undefined ? undefined : readEvent(data)), lost);
    }
    const isRaw = form === "raw";
    const socket = new WebSocket(asSocketUrl(url), [
      ...withToken([isRaw ? "longwire.raw" : "cloudevents.json"]),
    ]);
    socket.binaryType = "arraybuffer";
    const raw = (type: string, data: unknown): FollowedMessage => ({
      ...{ type, topic: String(topics[0]), id: "-", datacontenttype: "text/plain" },
      ...{ time: new Date().toISOString(), data },
    });
    // A raw socket has no ids and no events: they are made here, so that the client follows it like the others.
    if (isRaw) socket.onopen = () => take(raw("longwire.open", { topics: [{ topic: topics[0], id: "-" }] }));
    const readRaw = (frame: Data): void =>
      take(raw(frame === "pong" && pingedAt !== undefined ? "longwire.pong" : "longwire.message", frame));
    const ping = overSocket(socket, signal, isRaw ? readRaw : (frame) => take(readEvent(frame)), lost);
    return () => {
      pingedAt = performance.now();
      if (isRaw) socket.send("ping");
      else ping();
    };
  };
}
