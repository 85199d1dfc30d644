/** When a client comes back: for `follow`, and for the page's lines to /ping. */

const waitSecondsMax = 30;

/** Too short to be noticed. With it the clients of one node do not return in the same moment. */
const atOnceSecondsMax = 0.5;

/** The same request would end in the same way: docs/protocol.md, "Close codes". */
const finalCodes = [1002, 1003, 1007, 1008, 1009, 1010, 4403, 4410];

/** Whether coming back does not help. After 4401 it does only with a new token. */
export const isFinal = (code: number, reason: string): boolean =>
  finalCodes.includes(code) || reason === "ended";

/**
 * The wait before a try, random, so that the clients of a server that was lost do not all return in the same moment. Its
 * limit doubles from 1 s to 30 s. After 1012 and 4401 the first try comes at once: another node or token is there.
 * @param tries since the last connection that opened
 */
export function backoffSeconds(tries: number, code: number): number {
  const isAtOnce = tries === 0 && (code === 1012 || code === 4401);
  return (isAtOnce ? atOnceSecondsMax : Math.min(waitSecondsMax, 2 ** tries)) * Math.random();
}

/** Not a close code: the request was answered. */
export const answered = 0;

/** The status of an answer as a close code. Time mends every other status. */
const codeOfStatus: Readonly<Record<number, number>> = {
  200: answered,
  204: 1000,
  400: 1008,
  401: 4401,
  403: 4403,
  410: 1008,
  429: 1013,
  503: 1013,
};

/**
 * How a connection ended: the close code, the reason in the server's words, and the seconds until the next one, if they are
 * not the client's choice.
 */
export type Ending = readonly [code: number, reason: string, waitSeconds?: number];

/** The ending that a WebSocket has where an answer has a status and a detail. */
export async function endingOf(answer: Response): Promise<Ending> {
  const { status } = answer;
  const { detail = "" } = await answer.json().catch(() => ({})); // A proxy may answer with a page.
  return [codeOfStatus[status] ?? 1006, status === 204 ? "ended" : detail];
}
