/** /topics/…: a topic is a URL. A request becomes a subscription, a publication, a poll or an inspection. */
import type { Access } from "../../access/access.ts";
import type { Permissions } from "../../access/permissions.ts";
import { methods } from "../../http/methods.ts";
import { malformed } from "../../http/refusal.ts";
import type { Answer, Handler, RequestContext } from "../../http/request-context.ts";
import { socketTopicsMax } from "../../settings/limits.ts";
import { noStoreHeaders } from "../../subscriber/poll.ts";
import { readTopicStarts, readTopics, readWait } from "../../subscriber/request.ts";
import { Subscribing, type SubscribingDeps, type Wanted } from "../../subscriber/subscribing.ts";
import { formatId } from "../../topic/message.ts";
import { publishFrame } from "./publish-frame.ts";
import { Publishing } from "./publishing.ts";
import { readKey, requireOneKeyed } from "./request.ts";
import { answerValue } from "./value.ts";

/** What the endpoint needs of the server. */
export interface TopicsDeps extends SubscribingDeps {
  readonly access: Access;
}

/** @param path the path before the topics' names, such as `/topics/` */
export function topicsEndpoint(deps: TopicsDeps, path: string): Handler {
  const reading = new TopicsReading(deps, path);
  const publishing = new Publishing(deps, path);
  return methods({
    GET: (context) => reading.get(context),
    POST: (context) => publishing.post(context),
    DELETE: (context) => publishing.delete(context),
  });
}

class TopicsReading {
  readonly #deps: TopicsDeps;
  readonly #path: string;
  readonly #subscribing: Subscribing;

  constructor(deps: TopicsDeps, path: string) {
    this.#deps = deps;
    this.#path = path;
    const { hub } = deps;
    this.#subscribing = new Subscribing(deps, (frame, permissions) => publishFrame(frame, permissions, hub));
  }

  get(context: RequestContext): Promise<Answer> {
    return this.#subscribing.get(context, (wanted) => this.#answer(context, wanted));
  }

  async #answer(context: RequestContext, wanted: Wanted): Promise<Answer> {
    const topics = readTopics(context, this.#path, socketTopicsMax);
    const key = readKey(context, topics, this.#deps.hub.isKeyed);
    const permissions = await this.#deps.access.authenticate(context);
    for (const topic of topics) {
      const asked = permissions.require("subscribe", topic);
      if (asked instanceof Promise) await asked; // Only the rule of an application is waited for.
    }
    if (key !== undefined) return await this.#value(context, wanted, permissions, topics, key);
    if (wanted === "inspection") return await this.#inspect(topics);
    const starts = readTopicStarts(context, topics);
    return await this.#subscribing.open(context, wanted, { permissions, starts });
  }

  /** @throws {Refusal} */
  async #value(
    context: RequestContext,
    wanted: Wanted,
    permissions: Permissions,
    topics: readonly string[],
    key: string,
  ): Promise<Response> {
    const topic = requireOneKeyed(topics, this.#deps.hub.isKeyed);
    if (wanted === "socket" || wanted === "stream")
      throw malformed("?key= asks for one value. Subscribe to the topic without it.");
    const [start] = readTopicStarts(context, topics);
    const value = { topic, key, start, waitSeconds: readWait(context.query) };
    return await answerValue(context, permissions, value, { ...this.#deps, topicsPath: this.#path });
  }

  async #inspect(topics: readonly string[]): Promise<Response> {
    const { hub } = this.#deps;
    const states = await hub.inspect(topics);
    const found = topics.map((topic, index) => {
      const state = states[index];
      return {
        topic,
        position: state ? formatId(state.position) : null,
        retained: state?.retained ?? 0,
        subscribers: state?.subscribers ?? 0,
        ...(state?.position.end && { ended: formatId(state.position) }),
      };
    });
    return Response.json({ topics: found }, { headers: noStoreHeaders });
  }
}
