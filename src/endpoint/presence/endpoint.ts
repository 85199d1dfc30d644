/** /presence/…: who is on a topic, and how that changes. A keyed topic of the server's own, which clients only read. */
import type { Access } from "../../access/access.ts";
import { methods } from "../../http/methods.ts";
import { malformed, Refusal } from "../../http/refusal.ts";
import type { Answer, Handler, RequestContext } from "../../http/request-context.ts";
import { socketTopicsMax } from "../../settings/limits.ts";
import { noStoreHeaders } from "../../subscriber/poll.ts";
import { readTopicStarts, readTopics } from "../../subscriber/request.ts";
import { Subscribing, type SubscribingDeps, type Wanted } from "../../subscriber/subscribing.ts";
import { formatId } from "../../topic/message.ts";
import { presenceTopicOf } from "../../topic/presence.ts";

/** What the endpoint needs of the server. */
export interface PresenceDeps extends SubscribingDeps {
  readonly access: Access;
}

/** @param prefix before all paths of the server, such as `/realtime` */
export function presenceEndpoint(deps: PresenceDeps, prefix: string): Handler {
  const reading = new PresenceReading(deps, `${prefix}/presence/`);
  return methods({ GET: (context) => reading.get(context) });
}

class PresenceReading {
  readonly #deps: PresenceDeps;
  readonly #path: string;
  readonly #subscribing: Subscribing;

  constructor(deps: PresenceDeps, path: string) {
    this.#deps = deps;
    this.#path = path;
    this.#subscribing = new Subscribing(deps, { hasRawForm: false, publish: refuseToPublish });
  }

  get(context: RequestContext): Promise<Answer> {
    return this.#subscribing.get(context, (wanted) => this.#answer(context, wanted));
  }

  async #answer(context: RequestContext, wanted: Wanted): Promise<Answer> {
    const { access, hub } = this.#deps;
    requireNoParameterOfTopics(context);
    const topics = readTopics(context, this.#path, socketTopicsMax);
    // Where no topic has presence, a token would change nothing.
    if (!hub.members) throw withoutPresence(topics[0]);
    const permissions = await access.authenticate(context);
    for (const topic of topics) await permissions.require("presence", topic);
    const without = topics.find((topic) => !hub.hasPresence(topic));
    if (without !== undefined) throw withoutPresence(without);
    if (wanted === "inspection") return await this.#inspect(topics);
    const starts = readTopicStarts(context, topics.map(presenceTopicOf));
    return await this.#subscribing.open(context, wanted, { permissions, starts });
  }

  async #inspect(topics: readonly string[]): Promise<Response> {
    const states = await this.#deps.hub.inspect(topics.map(presenceTopicOf));
    const found = topics.map((topic, index) => {
      const state = states[index];
      const position = state ? formatId(state.position) : null;
      return { topic, members: state?.retained ?? 0, position };
    });
    return Response.json({ topics: found }, { headers: noStoreHeaders });
  }
}

const withoutPresence = (topic = ""): Refusal =>
  new Refusal(
    "not_found",
    `The topic ${topic} has no presence: its members are known if the server is started with --presence <pattern>.`,
  );

/** @throws {Refusal} for what is possible on /topics, and not here */
function requireNoParameterOfTopics({ search, query }: RequestContext): void {
  if (search === "") return;
  if (query.has("key")) throw malformed("?key= is not possible on /presence: read all members of the topic.");
  if (query.has("member"))
    throw malformed("?member= belongs to /topics/…: a reader of /presence is no member of the topic.");
}

async function refuseToPublish(): Promise<void> {
  throw new Refusal("permission", "Nobody can publish to /presence: the server itself says who is here.");
}
