/** GET /topics/…?key=: the value of one key as it was published, or what becomes of it within a wait. */
import type { Permissions } from "../../access/permissions.ts";
import type { Purpose } from "../../connection/connection.ts";
import type { Connections } from "../../connection/connections.ts";
import type { HttpConnection, HttpHandler } from "../../connection/http-connection.ts";
import { forms } from "../../delivery/forms.ts";
import type { Reader } from "../../delivery/reader.ts";
import type { TopicReaders } from "../../delivery/topic-readers.ts";
import { malformed, Refusal } from "../../http/refusal.ts";
import type { RequestContext } from "../../http/request-context.ts";
import { silentFor } from "../../http/silence.ts";
import { pollWaitSecondsMax } from "../../settings/limits.ts";
import type { TopicStart } from "../../subscriber/request.ts";
import type { KeyState } from "../../topic/broker.ts";
import { essenceOf, isJson } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { keyOf } from "../../topic/key.ts";
import { formatId, type Message } from "../../topic/message.ts";
import type { Subscriber, Subscription } from "../../topic/subscription.ts";
import { headersOfMessage } from "../../wire/event-headers.ts";
import { readTags } from "./request.ts";

/** What it needs of the server. */
export interface ValueDeps {
  readonly hub: Hub<TopicReaders>;
  readonly connections: Connections;
  /** Before all paths of the server, such as `/realtime`. */
  readonly prefix: string;
}

/** What a request asks for. */
export interface WantedValue {
  readonly topic: string;
  readonly key: string;
  /** Since when a change of the key counts, if the request says so. */
  readonly start: TopicStart | undefined;
  /** How long it waits for a change, 0 to `pollWaitSecondsMax`. */
  readonly waitSeconds: number;
}

/** @throws {Refusal} for a key without a value, and for one connection too many @throws {BrokerUnavailable} */
export async function answerValue(
  context: RequestContext,
  permissions: Permissions,
  wanted: WantedValue,
  deps: ValueDeps,
): Promise<Response> {
  const { topic, key, start, waitSeconds } = wanted;
  const header = context.request.headers.get("if-none-match");
  const known = header === null || header === "*" ? [] : readTags("If-None-Match", header).map(formatId);
  const isKnown = ({ value }: KeyState): boolean =>
    value !== undefined && (header === "*" || known.includes(formatId(value)));
  if (start?.since === undefined) {
    if (waitSeconds > 0) throw malformed("wait needs since: an id or a cursor, after which a change counts.");
    const state = await deps.hub.value(topic, key);
    return answerOf(state, wanted, state !== undefined && isKnown(state), deps);
  }
  const subscription = await deps.hub.open(topic, start.since, start.requested);
  const { from } = subscription;
  const watch = new KeyWatch(permissions, subscription, key, waitSeconds);
  using _ = silentFor(context, 2 * pollWaitSecondsMax);
  const hasChanged = await watch.run(context, deps.connections);
  const state = await deps.hub.value(topic, key);
  // A change after the wait, and before the value was read, would be lost: the cursor of the answer is past it.
  const isUnchanged = ({ value }: KeyState): boolean =>
    !hasChanged && value?.epoch === from.epoch && value.offset <= from.offset;
  return answerOf(state, wanted, state !== undefined && (isUnchanged(state) || isKnown(state)), deps);
}

/** @param isKnown the client has the value already */
function answerOf(
  state: KeyState | undefined,
  { topic }: WantedValue,
  isKnown: boolean,
  { prefix }: ValueDeps,
): Response {
  const cursor: Record<string, string> = state ? { "Longwire-Cursor": formatId(state.position) } : {};
  const value = state?.value;
  if (!value)
    throw new Refusal("not_found", `The topic ${topic} has no value of this key.`, { ...noCache, ...cursor });
  const headers = { ...noCache, ...cursor, ETag: `"${formatId(value)}"` };
  if (isKnown) return new Response(null, { status: 304, headers });
  return new Response(value.data, {
    headers: { ...headersOfMessage(value, prefix), ...headers, ...foreignHeaders(value) },
  });
}

/** A cache may keep it, and must ask whether it is still right. */
const noCache = { "Cache-Control": "no-cache" } as const;

/** Types that a browser shows without running anything. SVG is a document with scripts. */
const shownTypes: ReadonlySet<string> = new Set([
  "text/plain",
  "image/png",
  "image/jpeg",
  "image/gif",
  "image/webp",
  "image/avif",
]);

/** A stranger published it, and it is served from this origin: it must not become a page of it. */
function foreignHeaders({ contentType }: Message): Record<string, string> {
  const isShown = shownTypes.has(essenceOf(contentType)) || isJson(contentType);
  return {
    "Content-Type": contentType,
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    ...(!isShown && { "Content-Disposition": "attachment" }),
  };
}

/** A subscription that ends at the first message of one key, at a gap, or after its wait. */
class KeyWatch implements HttpHandler, Subscriber<TopicReaders>, Reader {
  readonly kind = "poll";
  readonly form = forms.program;
  readonly subscriptions: readonly Subscription<TopicReaders>[];
  readonly unsentBytes = 0;
  readonly #permissions: Permissions;
  readonly #key: string;
  readonly #outcome = Promise.withResolvers<boolean>();
  #waitSecondsLeft: number;
  #connection: HttpConnection | undefined;

  constructor(
    permissions: Permissions,
    subscription: Subscription<TopicReaders>,
    key: string,
    waitSeconds: number,
  ) {
    this.#permissions = permissions;
    this.subscriptions = [subscription];
    this.#key = key;
    this.#waitSecondsLeft = waitSeconds;
  }

  /** Resolves with whether the key has changed, or may have. Called once. @throws {Refusal} */
  async run(context: RequestContext, connections: Connections): Promise<boolean> {
    const { signal } = context.request;
    const { expiresTime } = this.#permissions;
    const [subscription] = this.subscriptions as [Subscription<TopicReaders>];
    try {
      if (signal.aborted) throw malformed("The client left before its connection was opened.");
      const connection = connections.openHttp(context, { handler: this, expiresTime });
      this.#connection = connection;
      signal.addEventListener("abort", () => connection.end());
      subscription.begin(this);
      subscription.advance();
      return await this.#outcome.promise;
    } finally {
      subscription.close();
    }
  }

  replay(message: Message): boolean {
    if (keyOf(message) === this.#key) this.#settle(true);
    return this.#connection !== undefined;
  }

  deliver(message: Message): boolean {
    if (keyOf(message) === this.#key) this.#settle(true);
    return true;
  }

  /** What the key was before is not known. */
  gap(): void {
    this.#settle(true);
  }

  replayed(): void {}

  live(subscription: Subscription<TopicReaders>): void {
    if (this.#waitSecondsLeft > 0) subscription.live.add(subscription, this);
    else this.#settle(false);
  }

  /** Nothing follows. */
  end(): void {
    this.#settle(false);
  }

  /** It takes all it is given. */
  tooSlow(): void {
    this.#settle(true);
  }

  fail(error: unknown): void {
    this.#outcome.reject(error);
    this.#connection?.end();
  }

  purpose(): Purpose {
    return { sub: this.#permissions.subject, topics: 1 };
  }

  tick(): void {
    if (--this.#waitSecondsLeft <= 0) this.#settle(false);
  }

  /** At a drain the client gets what there is, and continues at another node. */
  refuse(refusal: Refusal): void {
    if (refusal.reason === "draining") this.#settle(false);
    else this.fail(refusal);
  }

  leave(): void {
    for (const subscription of this.subscriptions) subscription.close();
  }

  /** Also where its client has left, who is not answered. */
  closed(): void {
    this.#connection = undefined;
    this.leave();
    this.#outcome.resolve(false);
  }

  #settle(hasChanged: boolean): void {
    this.#outcome.resolve(hasChanged);
    this.#connection?.end();
  }
}
