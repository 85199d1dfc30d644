/** Readers of who is on a topic. */
import type { RunningServer } from "./server.ts";
import { openSocketAt, openStreamAt, type ReceivedEvent } from "./topics.ts";

type Headers = Readonly<Record<string, string>>;

/** An event of /presence, as `shown` writes it, and its cursor. */
export interface PresenceReader extends AsyncDisposable {
  next(): Promise<string>;
  /** `id:` of the last event. */
  readonly cursor: string;
}

/** `+ann true` for a join, `~ann {"name":"Ann"}` for an update, `-ann` for leaving, the type of a control event. */
export function shown(event: ReceivedEvent): string {
  const { type, partitionkey: key, data } = event;
  if (type === "longwire.removed") return `-${key}`;
  const info = JSON.stringify((data as { member?: unknown } | undefined)?.member);
  if (type === "longwire.join") return `+${key} ${info}`;
  return type === "longwire.update" ? `~${key} ${info}` : type;
}

/** Follows by an event stream, and has read `longwire.open` and, with `since=all`, the snapshot of an empty topic. */
export async function followPresence(
  server: Pick<RunningServer, "url">,
  path: string,
  headers: Headers = {},
): Promise<PresenceReader> {
  const stream = await openStreamAt(server, `/presence/${path}`, headers);
  let cursor = "";
  const next = async (): Promise<string> => {
    const { data, id } = await stream.next();
    cursor = id ?? cursor;
    return shown(JSON.parse(data));
  };
  const opened = await next();
  if (opened !== "longwire.open") throw new Error(`the first event was ${opened}`);
  return {
    next,
    get cursor() {
      return cursor;
    },
    [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
  };
}

/** Follows by a WebSocket. */
export async function openPresence(
  server: Pick<RunningServer, "socketUrl">,
  path: string,
  headers: Headers = {},
) {
  const client = await openSocketAt(server, `/presence/${path}`, ["cloudevents.json"], headers);
  return { ...client, entry: async () => shown(await client.event()) };
}

/** What /presence answers to a plain GET or a poll. */
export async function presenceOf(
  server: Pick<RunningServer, "url">,
  path: string,
  headers: Headers = {},
): Promise<readonly [status: number, body: unknown]> {
  const answer = await fetch(new URL(`/presence/${path}`, server.url), { headers });
  return [answer.status, await answer.json()];
}
