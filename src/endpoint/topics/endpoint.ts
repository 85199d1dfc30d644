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
import type { Member } from "../../topic/presence.ts";
import { publishFrame } from "./publish-frame.ts";
import { Publishing } from "./publishing.ts";
import { readKey, readMember, requireOneKeyed } from "./request.ts";
import { answerValue, type ValueDeps } from "./value.ts";

/** What the endpoint needs of the server. */
export interface TopicsDeps extends SubscribingDeps {
  readonly access: Access;
}

/** @param prefix before all paths of the server, such as `/realtime` */
export function topicsEndpoint(deps: TopicsDeps, prefix: string): Handler {
  const path = `${prefix}/topics/`;
  const reading = new TopicsReading({ ...deps, prefix }, path);
  const publishing = new Publishing(deps, path);
  return methods({
    GET: (context) => reading.get(context),
    POST: (context) => publishing.post(context),
    DELETE: (context) => publishing.delete(context),
  });
}

class TopicsReading {
  readonly #deps: TopicsDeps & ValueDeps;
  readonly #path: string;
  readonly #subscribing: Subscribing;

  constructor(deps: TopicsDeps & ValueDeps, path: string) {
    this.#deps = deps;
    this.#path = path;
    const { hub } = deps;
    this.#subscribing = new Subscribing(deps, {
      hasRawForm: true,
      publish: (frame, permissions) => publishFrame(frame, permissions, hub),
    });
  }

  get(context: RequestContext): Promise<Answer> {
    return this.#subscribing.get(context, (wanted) => this.#answer(context, wanted));
  }

  async #answer(context: RequestContext, wanted: Wanted): Promise<Answer> {
    const { access, hub } = this.#deps;
    const topics = readTopics(context, this.#path, socketTopicsMax);
    const key = readKey(context, topics, hub.isKeyed);
    const isLine = wanted === "socket" || wanted === "stream";
    const named = readMember(context, topics, isLine, this.#deps);
    const permissions = await access.authenticate(context);
    for (const topic of topics) {
      const asked = permissions.require("subscribe", topic);
      if (asked instanceof Promise) await asked; // Only the rule of an application is waited for.
    }
    if (key !== undefined) return await this.#value(context, wanted, permissions, topics, key);
    if (wanted === "inspection") return await this.#inspect(topics);
    const starts = readTopicStarts(context, topics);
    const memberOn = (topic: string): Member | undefined => named ?? permissions.memberOn(topic);
    const seen = isLine && hub.members ? { memberOn } : {};
    return await this.#subscribing.open(context, wanted, { permissions, starts, ...seen });
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
    return await answerValue(context, permissions, value, this.#deps);
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
