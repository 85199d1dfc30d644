/** The server under the soak, and helpers that all parts of the load share. */
import { SignJWT } from "jose";
import type { Random } from "../support/random.ts";
import type { RunningServer } from "../support/server.ts";
import type { Tally } from "./tally.ts";

export const apiKey = "an-api-key-for-the-soak-alone";
export const jwtSecret = "a-secret-for-the-soak-of-thirty-two-bytes-and-more";

/** Limits of a small machine, and short ages, so that many things expire during a run. */
export const serverFlags = [
  ...["--api-key", apiKey, "--jwt-secret", jwtSecret, "--public", "open/*"],
  ...["--max-message", "128KiB", "--max-buffered", "256KiB", "--max-connections", "1000"],
  ...[
    "--history-messages",
    "200",
    "--history-age",
    "20s",
    "--history-bytes",
    "24MiB",
    "--position-age",
    "30s",
  ],
];

export interface Stage {
  readonly server: RunningServer;
  readonly tally: Tally;
  readonly random: Random;
  /** Aborted at the end of the soak. */
  readonly stopping: AbortSignal;
}

export const bearer = (token: string): Record<string, string> => ({ Authorization: `Bearer ${token}` });

/** A token that allows one topic, for this long. */
export const makeToken = (topic: string, seconds: number): Promise<string> =>
  new SignJWT({ subscribe: [topic] })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
    .sign(new TextEncoder().encode(jwtSecret));

/** Ends early at the end of the soak. */
export async function pause(seconds: number, stopping: AbortSignal): Promise<void> {
  if (stopping.aborted || seconds <= 0) return;
  const over = Promise.withResolvers<void>();
  const end = (): void => over.resolve();
  stopping.addEventListener("abort", end);
  const timer = setTimeout(end, seconds * 1000);
  await over.promise;
  clearTimeout(timer);
  stopping.removeEventListener("abort", end);
}

/** Repeats an act until the end of the soak. An error in it is counted as a fault, and the repetition continues. */
export async function repeat(
  { stopping, tally }: Stage,
  what: string,
  everySeconds: number,
  act: () => Promise<void>,
): Promise<void> {
  while (!stopping.aborted) {
    const begun = performance.now();
    try {
      await act();
    } catch (error) {
      tally.fault(`${what}: ${error}`);
    }
    await pause(everySeconds - (performance.now() - begun) / 1000, stopping);
  }
}

/** The DOM's types, which the page needs, lack the headers of Bun's WebSocket. */
const WebSocketWithHeaders = WebSocket as unknown as new (
  url: string,
  options: Bun.WebSocketOptions,
) => WebSocket;

export const openEventSocket = (url: string, token: string | undefined): WebSocket =>
  new WebSocketWithHeaders(url, {
    protocols: ["cloudevents.json"],
    ...(token !== undefined && { headers: bearer(token) }),
  });
