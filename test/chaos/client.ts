/** Publishers that repeat with their key until they are answered, and followers that return to any node with their last id. */
import { lastMessage, type OpenLine } from "../support/followers.ts";
import type { Random } from "../support/random.ts";
import { topicsUrl } from "../support/topics.ts";
import { type Checker, Violation } from "./checker.ts";

/** A node, whether it runs or not. */
export interface NodeAddress {
  readonly url: URL;
  socketUrl(path?: string): string;
}

export interface FollowerOptions {
  readonly topic: string;
  readonly nodes: readonly NodeAddress[];
  readonly open: (node: NodeAddress) => OpenLine;
  readonly random: Random;
  readonly checker: Checker;
}

export class Follower {
  readonly #options: FollowerOptions;
  #id: string | undefined;
  #hasLast = false;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  get isDone(): boolean {
    return this.#hasLast;
  }

  get words(): string {
    return `a follower of ${this.#options.topic} at ${this.#id}`;
  }

  /** Follows until it has the last message. @throws {Violation} */
  async follow(): Promise<void> {
    const { topic, nodes, open, random, checker } = this.#options;
    while (!this.#hasLast) {
      try {
        const line = await open(random.pick(nodes))([topic], this.#id === undefined ? undefined : [this.#id]);
        checker.tally.returns++;
        const count = random.between(0, 200);
        try {
          for (let taken = 0; taken < count && !this.#hasLast; taken++) this.#take(await line.next());
        } finally {
          await line.leave(random.chance(0.5));
        }
      } catch (error) {
        if (error instanceof Violation) throw error;
        await Bun.sleep(random.between(10, 200)); // The node or Redis is away: a client comes back.
      }
    }
  }

  #take(given: Awaited<ReturnType<Awaited<ReturnType<OpenLine>>["next"]>>): void {
    const { topic, checker } = this.#options;
    if (given.kind === "open") {
      this.#id ??= given.ids[0]?.id;
    } else if (given.kind === "gap") {
      checker.gap(topic, this.#id ?? "", given.from);
      this.#id = given.from;
    } else if (given.kind === "message") {
      if (this.#id !== undefined) checker.followed(topic, this.#id, given.id);
      checker.received(topic, given.id, given.data);
      this.#id = given.id;
      if (given.data === lastMessage) this.#hasLast = true;
    }
  }
}

/** Publishes until it is answered with 200, at any node. @throws for an answer that is neither 200 nor 503 */
export async function publishAtLast(
  { topic, nodes, random, checker }: Omit<FollowerOptions, "open">,
  body: string,
): Promise<void> {
  const key = crypto.randomUUID();
  for (;;) {
    const node = random.pick(nodes);
    const headers = { "Content-Type": "text/plain", "Idempotency-Key": key };
    const answer = await fetch(topicsUrl(node, topic), { method: "POST", body, headers }).catch(
      () => undefined,
    );
    const text = await answer?.text().catch(() => undefined);
    if (answer?.status === 200 && text !== undefined) {
      checker.acknowledged(topic, JSON.parse(text).published[0].id, body);
      return;
    }
    if (answer && answer.status !== 200 && answer.status !== 503)
      throw new Violation(`publishing was answered with ${answer.status}: ${text}`);
    await Bun.sleep(random.between(20, 100));
  }
}
