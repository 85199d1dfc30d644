/** A node on a Redis server, in the process of the test: a hub with its engine and a line, and clients that come back. */
import { isKeyed } from "../../src/engine/engine.ts";
import { RedisBroker, type RedisBrokerSettings } from "../../src/engine/redis/broker.ts";
import { Counters } from "../../src/metrics.ts";
import type { Publication } from "../../src/topic/broker.ts";
import { Hub } from "../../src/topic/hub.ts";
import { formatId, type Message, type Position, parseId, type Since } from "../../src/topic/message.ts";
import type { Member } from "../../src/topic/presence.ts";
import type { Gap, Subscriber, Subscription } from "../../src/topic/subscription.ts";
import { LiveVisitors } from "./live-visitors.ts";
import { type RecordingLog, recordingLog } from "./recording-log.ts";
import { RedisLine, type RedisServer } from "./redis.ts";
import { until } from "./wait.ts";

const limits = {
  historyMessages: 1000,
  historyAgeSeconds: 3600,
  historyBytesMax: 64 * 1024 * 1024,
  positionAgeSeconds: 7200,
  retain: [],
  keyed: [],
  keysMax: 1000,
  feeds: [],
};

export class RedisNode implements AsyncDisposable {
  readonly log: RecordingLog = recordingLog();
  readonly line: RedisLine;
  readonly broker: RedisBroker;
  readonly hub: Hub<LiveVisitors<Client>>;
  readonly counters = new Counters();
  /** Lines of the log at the end of the last `ready` or `away`. */
  #linesBefore = 0;

  private constructor(server: RedisServer, settings: Partial<RedisBrokerSettings>) {
    this.line = new RedisLine(server);
    const given = {
      url: this.line.url,
      database: 0,
      prefix: "test",
      acknowledge: 0,
      losslessFailover: false,
    };
    const all = { ...limits, ...given, ...settings };
    this.broker = new RedisBroker(all, this.log);
    const { broker, log, counters } = this;
    const { presence: register } = broker;
    this.hub = new Hub({
      ...{ broker, limits, counters, log },
      live: () => new LiveVisitors<Client>(),
      isKeyed: (topic) => isKeyed(all, topic),
      presence: register && { register, has: () => true },
    });
  }

  static async on(server: RedisServer, settings: Partial<RedisBrokerSettings> = {}): Promise<RedisNode> {
    const node = RedisNode.unready(server, settings);
    await node.ready();
    return node;
  }

  /** A node that need not reach its server. */
  static unready(server: RedisServer, settings: Partial<RedisBrokerSettings> = {}): RedisNode {
    return new RedisNode(server, settings);
  }

  async ready(): Promise<void> {
    await until(() => this.broker.state.available, "a node to reach Redis");
    this.#linesBefore = this.log.lines.length;
  }

  /** Resolves when it has noticed since the last `ready` or `away` that Redis is away, also where it is back by then. */
  async away(): Promise<void> {
    const isAway = (): boolean => !this.broker.state.available || this.#hasDisconnected();
    await until(isAway, "a node to notice that Redis is away");
    this.#linesBefore = this.log.lines.length;
  }

  /** A line that Redis cannot be used is one more attempt, unless it follows a connection. */
  #hasDisconnected(): boolean {
    const states = ["connected to Redis", "Redis cannot be used"];
    const changes = this.log.lines.flatMap(({ message }, line) =>
      states.includes(message) ? [{ message, line }] : [],
    );
    return changes.some(
      ({ message, line }, index) =>
        line >= this.#linesBefore && message === states[1] && changes[index - 1]?.message === states[0],
    );
  }

  publish(data: string, topic = "news"): Promise<Position> {
    return this.#publish(topic, { drafts: [{ data, contentType: "text/plain" }] });
  }

  /** Publishes until it is accepted, as a publisher with a key does. */
  async publishAtLast(data: string, topic = "news"): Promise<Position> {
    const once = { key: crypto.randomUUID(), publisher: "test" };
    let position: Position | undefined;
    await until(async () => {
      const publication = { drafts: [{ data, contentType: "text/plain" }], once };
      position = await this.#publish(topic, publication).catch(() => undefined);
      return position !== undefined;
    }, `"${data}" to be accepted`);
    return position as Position;
  }

  async #publish(topic: string, publication: Publication): Promise<Position> {
    return (await this.hub.publish(topic, publication)).message as Position;
  }

  /**
   * @param id the last one that the client has, or `all`; from now on without it
   * @param member the key of the member whose line it is
   */
  come(id?: string, topic = "news", member?: string): Promise<Client> {
    return Client.on(this, topic, id, member);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hub.close();
    await this.broker.close();
    this.line[Symbol.dispose]();
  }
}

/** A client that stores its last id, and comes back where its node cannot serve it. */
export class Client implements Subscriber<LiveVisitors<Client>> {
  /** The data of its messages, in order. */
  readonly received: string[] = [];
  readonly ids: string[] = [];
  gaps = 0;
  /** How often it had to come back. */
  failures = 0;
  hasEnded = false;
  id: string;
  readonly #node: RedisNode;
  readonly #topic: string;
  readonly #member: Member | undefined;
  #subscription: Subscription<LiveVisitors<Client>> | undefined;

  private constructor(node: RedisNode, topic: string, id: string, member: string | undefined) {
    this.#node = node;
    this.#topic = topic;
    this.#member = member === undefined ? undefined : { key: member, info: "true", issuedSeconds: 0 };
    this.id = id;
  }

  static async on(
    node: RedisNode,
    topic: string,
    id: string | undefined,
    member: string | undefined,
  ): Promise<Client> {
    const client = new Client(node, topic, id ?? "", member);
    await client.#open();
    return client;
  }

  async has(data: string): Promise<void> {
    await until(() => this.received.includes(data), `"${data}" to arrive; there are ${this.received}`);
  }

  leave(): void {
    this.#subscription?.close();
  }

  replay(message: Message): boolean {
    this.deliver(message);
    return true;
  }

  deliver(message: Message): void {
    this.id = formatId(message);
    this.ids.push(this.id);
    this.received.push(String(message.data));
  }

  gap({ from }: Gap): void {
    this.gaps++;
    this.id = formatId(from);
  }

  replayed(): void {}

  live(subscription: Subscription<LiveVisitors<Client>>): void {
    subscription.live.add(subscription, this);
  }

  end(): void {
    this.hasEnded = true;
  }

  fail(): void {
    this.failures++;
    this.leave();
    setTimeout(() => this.#open().catch(() => this.fail()), 50);
  }

  async #open(): Promise<void> {
    const position = parseId(this.id);
    const since: Since | undefined =
      this.id === "all" ? { kind: "all" } : position && { kind: "position", position };
    const subscription = await this.#node.hub.open(this.#topic, since, this.id, this.#member);
    this.#subscription = subscription;
    this.id = subscription.openId;
    subscription.begin(this);
    subscription.advance();
  }
}
