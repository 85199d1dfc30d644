/** Publishers that repeat with their key until they are answered, and followers that return to any node with their last id. */
import { lastMessage, type OpenLine } from "../support/followers.ts";
import { openProducer, type Producer } from "../support/producer.ts";
import type { Random } from "../support/random.ts";
import { topicsUrl } from "../support/topics.ts";
import { type Checker, type View, Violation } from "./checker.ts";

/** A node, whether it runs or not. */
export interface NodeAddress {
  readonly url: URL;
  socketUrl(path?: string): string;
}

export interface ClientOptions {
  readonly topic: string;
  readonly nodes: readonly NodeAddress[];
  readonly random: Random;
  readonly checker: Checker;
}

export interface FollowerOptions extends ClientOptions {
  readonly open: (node: NodeAddress) => OpenLine;
}

export class Follower {
  readonly #options: FollowerOptions;
  readonly #view: View;
  #hasLast = false;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#view = options.checker.view(options.topic);
  }

  get isDone(): boolean {
    return this.#hasLast;
  }

  get words(): string {
    return this.#view.words;
  }

  /** Follows until it has the last message. @throws {Violation} */
  async follow(): Promise<void> {
    const { topic, nodes, open, random, checker } = this.#options;
    while (!this.#hasLast) {
      const { id } = this.#view;
      let asked = performance.now();
      try {
        const line = await open(random.pick(nodes))([topic], id === undefined ? undefined : [id]);
        checker.tally.returns++;
        const count = random.between(0, 200);
        try {
          for (let taken = 0; taken < count && !this.#hasLast; taken++) {
            asked = performance.now();
            this.#take(await line.next());
          }
        } finally {
          await line.leave(random.chance(0.5));
        }
      } catch (error) {
        if (error instanceof Violation) throw error;
        checkAnswer(checker, asked, String(error));
        await Bun.sleep(random.between(10, 200)); // The node or Redis is away: a client comes back.
      }
    }
    this.#view.finish();
  }

  #take(given: Awaited<ReturnType<Awaited<ReturnType<OpenLine>>["next"]>>): void {
    if (given.kind === "open") this.#view.id ??= given.ids[0]?.id;
    else if (given.kind === "gap") this.#view.gap(given.from);
    else if (given.kind === "message") {
      this.#view.message(given.id, given.data);
      if (given.data === lastMessage) this.#hasLast = true;
    }
  }
}

/** @param error names the status with which a reader was refused, if it was answered at all */
export function checkAnswer(checker: Checker, asked: number, error: string): void {
  const [, status] = /(?:answered with|server response:) (\d{3})/.exec(error) ?? [];
  if (status === "503") checker.refused("read", asked, error);
  else if (status !== undefined) throw new Violation(`a reader was answered with ${status}: ${error}`);
}

/** A request to /topics that is repeated. */
export interface RepeatedRequest {
  /** Called before each attempt. */
  readonly asked?: () => void;
  /** What follows `/topics/`. */
  readonly path: string;
  readonly method: "POST" | "DELETE";
  readonly body?: string;
  /** Statuses that are an answer beside 200. */
  readonly answers?: readonly number[];
}

/**
 * Asks any node, with one idempotency key, until it is answered. A node that cannot be reached, or that breaks off, is one of the
 * things that happen here: another is asked.
 * @throws {Violation} for an answer that is neither expected nor 503
 */
export async function askAtLast(
  { nodes, random, checker }: Omit<ClientOptions, "topic">,
  { asked, path, method, body, answers = [] }: RepeatedRequest,
): Promise<{ readonly status: number; readonly text: string }> {
  const headers = { "Content-Type": "text/plain", "Idempotency-Key": crypto.randomUUID() };
  const init = { method, headers, ...(body !== undefined && { body }) };
  for (;;) {
    asked?.();
    const askedMilliseconds = performance.now();
    const answer = await fetch(topicsUrl(random.pick(nodes), path), init).catch(() => undefined);
    const text = await answer?.text().catch(() => undefined);
    if (answer && text !== undefined && [200, ...answers].includes(answer.status))
      return { status: answer.status, text };
    if (answer?.status === 503) checker.refused("publication", askedMilliseconds, text ?? "");
    else if (answer && answer.status !== 200)
      throw new Violation(`${method} ${path} was answered with ${answer.status}: ${text}`);
    await Bun.sleep(random.between(20, 100));
  }
}

/** Publishes until it is answered with 200, at any node. @throws {Violation} */
export async function publishAtLast(client: ClientOptions, body: string): Promise<void> {
  const { topic, checker } = client;
  checker.begun(body);
  const { text } = await askAtLast(client, { path: topic, method: "POST", body });
  checker.acknowledged(topic, JSON.parse(text).published[0].id, body);
}

/**
 * Publishes bodies as one stream until it is answered with 200: it breaks off, and is repeated at any node with its key, also
 * while the request before is still open.
 */
export async function streamAtLast(client: ClientOptions, bodies: readonly string[]): Promise<void> {
  const { topic, random, checker } = client;
  const key = crypto.randomUUID();
  checker.begun(bodies.at(-1) ?? "");
  /** Earlier requests, open while a newer one takes the stream over. One that arrives late takes it back: 409 for the newer. */
  const older: Producer[] = [];
  try {
    for (let isFirst = true; ; isFirst = false) {
      const producer = await openProducer(random.pick(client.nodes).url, topic, {
        "Idempotency-Key": key,
      }).catch(() => undefined);
      if (producer && (await produce(producer, bodies, isFirst, client))) {
        for (const body of bodies) checker.published(topic, body);
        checker.tally.streams++;
        return;
      }
      checker.tally.broken++;
      if (producer && random.chance(0.5)) older.push(producer);
      else producer?.break();
      await Bun.sleep(random.between(20, 100));
    }
  } finally {
    for (const producer of older) producer.break();
  }
}

/** @returns whether the stream was answered with 200 */
async function produce(
  producer: Producer,
  bodies: readonly string[],
  isFirst: boolean,
  { random, checker }: ClientOptions,
): Promise<boolean> {
  const sent = random.chance(0.5) ? bodies.length : random.below(bodies.length);
  for (const body of bodies.slice(0, sent)) {
    producer.write(`data: ${body}\n\n`);
    if (random.chance(0.3)) await Bun.sleep(random.between(1, 20));
  }
  if (sent < bodies.length) return false;
  const asked = performance.now();
  const answer = await producer.finish().catch(() => undefined);
  if (!answer) return false;
  if (answer.status === 503) checker.refused("publication", asked, answer.body);
  else if (answer.status === 200 && JSON.parse(answer.body).published[0].count !== bodies.length)
    throw new Violation(`a stream of ${bodies.length} items was answered with ${answer.body}`);
  else if (answer.status !== 200 && (answer.status !== 409 || isFirst))
    throw new Violation(`a stream was answered with ${answer.status}: ${answer.body}`);
  return answer.status === 200;
}
