/** POST and DELETE of /topics/…: what they ask for, whether the sender may, and where it goes. */
import type { Access } from "../../access/access.ts";
import type { Permissions } from "../../access/permissions.ts";
import type { Connections } from "../../connection/connections.ts";
import type { Openings } from "../../connection/openings.ts";
import type { BufferLimits } from "../../delivery/buffer-limits.ts";
import { decodedStreamOf } from "../../http/content-coding.ts";
import { malformed } from "../../http/refusal.ts";
import type { RequestContext } from "../../http/request-context.ts";
import { silentFor } from "../../http/silence.ts";
import type { Logger } from "../../log.ts";
import type { Counters } from "../../metrics.ts";
import type { HandlerConfig } from "../../settings/config.ts";
import { requestHistoryShare, socketTopicsMax } from "../../settings/limits.ts";
import { readTopics, requireNoMistypedParameter } from "../../subscriber/request.ts";
import type { Hub } from "../../topic/hub.ts";
import { removalOf } from "../../topic/key.ts";
import { attributesOfHeaders } from "../../wire/event-headers.ts";
import { ArrivingBody, type ArrivingBodyDeps, errorOfBody } from "./arriving-body.ts";
import { type PublishDeps, publishBody, publishDraft, readIdempotencyKey } from "./publish.ts";
import { PublishStream, type PublishStreamDeps } from "./publish-stream.ts";
import type { PublishTarget } from "./publish-target.ts";
import { readCondition, readEnd, readKey, requireNoMember, requireOneKeyed } from "./request.ts";
import { type StreamKind, streamItemsOf, streamKindOf } from "./stream-items.ts";

/** What it needs of the server. */
export interface PublishingDeps {
  readonly config: HandlerConfig;
  readonly hub: Hub;
  readonly access: Access;
  readonly buffers: BufferLimits;
  readonly connections: Connections;
  readonly openings: Openings;
  readonly counters: Counters;
  readonly log: Logger;
}

export class Publishing {
  readonly #deps: PublishingDeps;
  readonly #path: string;
  readonly #publishDeps: PublishDeps;
  readonly #publishStreamDeps: PublishStreamDeps;
  readonly #bodyDeps: ArrivingBodyDeps;

  /** @param path the path before the topics' names, such as `/topics/` */
  constructor(deps: PublishingDeps, path: string) {
    this.#deps = deps;
    this.#path = path;
    const { messageBytesMax, historyBytesMax, redisUrl } = deps.config;
    const isBounded = redisUrl === undefined && historyBytesMax > 0;
    const requestBytesMax = isBounded ? historyBytesMax * requestHistoryShare : Number.POSITIVE_INFINITY;
    const { stepBytesMax } = deps.buffers;
    this.#publishDeps = { hub: deps.hub, messageBytesMax, stepBytesMax, requestBytesMax };
    this.#publishStreamDeps = { ...deps, ...deps.config, stepBytesMax };
    this.#bodyDeps = { ...deps, messageBytesMax };
  }

  async post(context: RequestContext): Promise<Response> {
    const { request } = context;
    const { hub } = this.#deps;
    requireNoMistypedParameter(context);
    requireNoMember(context);
    const topics = readTopics(context, this.#path, socketTopicsMax);
    const granted = this.#deps.access.authenticate(context);
    const permissions = granted instanceof Promise ? await granted : granted;
    const ends = readEnd(context);
    const action = ends && request.body === null ? "end" : "publish";
    const targets: PublishTarget[] = [];
    for (const topic of topics) {
      hub.requireNoFeed(topic);
      if (ends) await permissions.require("end", topic);
      const sender = permissions.require(action, topic);
      targets.push({ topic, sender: sender instanceof Promise ? await sender : sender });
    }
    const key = readKey(context, topics, hub.isKeyed);
    const condition = readCondition(request);
    if (condition) requireOneKeyed(topics, hub.isKeyed);
    const contentType = request.headers.get("content-type") ?? undefined;
    const kind = streamKindOf(contentType);
    if (kind) return await this.#publishStream(context, permissions, targets, ends, kind);
    const idempotencyKey = readIdempotencyKey(request);
    const posted = { topics, targets, contentType, ends, idempotencyKey, key, condition };
    try {
      const arriving = new ArrivingBody(context, permissions, targets, this.#bodyDeps);
      const arrived = await arriving.inTurn();
      const coming = arriving.body(arrived);
      const body = coming instanceof Promise ? await coming : coming;
      return publishBody(request, body, posted, this.#publishDeps);
    } catch (error) {
      throw errorOfBody(error);
    }
  }

  async delete(context: RequestContext): Promise<Response> {
    const { request } = context;
    const { hub, access } = this.#deps;
    requireNoMistypedParameter(context);
    requireNoMember(context);
    const topics = readTopics(context, this.#path, socketTopicsMax);
    const key = readKey(context, topics, hub.isKeyed);
    if (key === undefined) throw malformed("DELETE removes a key of a keyed topic: name it, by ?key=<key>.");
    const topic = requireOneKeyed(topics, hub.isKeyed);
    const permissions = await access.authenticate(context);
    const targets = [{ topic, sender: await permissions.require("publish", topic) }];
    const idempotencyKey = readIdempotencyKey(request);
    const condition = readCondition(request);
    const posted = { topics, targets, contentType: undefined, ends: false, idempotencyKey, key, condition };
    return await publishDraft(removalOf(key), posted, hub);
  }

  async #publishStream(
    context: RequestContext,
    { expiresTime }: Permissions,
    targets: readonly PublishTarget[],
    ends: boolean,
    kind: StreamKind,
  ): Promise<Response> {
    const { openings, config } = this.#deps;
    const { request } = context;
    const [target] = targets;
    if (!target || targets.length > 1) throw malformed("A stream is published to one topic.");
    if (this.#deps.hub.isKeyed(target.topic))
      throw malformed(
        `The topic ${target.topic} is keyed, and the items of a stream have no keys. Publish a batch.`,
      );
    const attributes = attributesOfHeaders(request.headers, [target.topic]);
    const items = streamItemsOf(kind, attributes, config.messageBytesMax);
    const key = readIdempotencyKey(request);
    const body = decodedStreamOf(request);
    await openings.turn(context);
    // Bun ends a request whose body is silent for some seconds. The stream has a longer limit of its own.
    using _ = silentFor(context, 0);
    const stream = { expiresTime, target, key, ends, items };
    return await new PublishStream(this.#publishStreamDeps, stream).run(context, body);
  }
}
