/** Clients that connect, leave and return with their last id, and check that no loss goes unreported. */
import { within } from "../support/wait.ts";
import { bearer, makeToken, openEventSocket, pause, type Stage } from "./stage.ts";

/** The events for a follower, in either form. */
interface Listener {
  opened(id: string, resumed: boolean): void;
  message(id: string): void;
  gap(requested: string, from: string): void;
}

/** One connection. */
interface Visit {
  /** Resolves with the close code at the end, whichever side ended it. */
  readonly over: Promise<number>;
  leave(): void;
}

/** Connects, with a token if the topic is not public. */
export type Transport = (
  stage: Stage,
  topic: string,
  since: string | undefined,
  token: string | undefined,
  listener: Listener,
) => Visit;

const lost = 1006;
const unauthorized = 4401;

export const bySocket: Transport = ({ server }, topic, since, token, listener) => {
  const query = since === undefined ? "" : `?since=${since}`;
  const socket = openEventSocket(server.socketUrl(`/topics/${topic}${query}`), token);
  const over = Promise.withResolvers<number>();
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(String(data));
    if (event.type === "longwire.open")
      listener.opened(event.data.topics[0].id, event.data.topics[0].resumed);
    else if (event.type === "longwire.gap") listener.gap(event.data.requested, event.data.from);
    else if (event.topic !== undefined) listener.message(event.id);
  };
  socket.onclose = ({ code }) => over.resolve(code);
  return { over: over.promise, leave: () => socket.close() };
};

export const byStream: Transport = ({ server }, topic, since, token, listener) => {
  const abort = new AbortController();
  const read = async (): Promise<number> => {
    const response = await fetch(new URL(`/topics/${topic}`, server.url), {
      headers: {
        Accept: "text/event-stream",
        ...(since !== undefined && { "Last-Event-ID": since }),
        ...(token !== undefined && bearer(token)),
      },
      signal: abort.signal,
    });
    if (response.status !== 200 || !response.body)
      throw new Error(`a stream was answered ${response.status}`);
    const decoder = new TextDecoder();
    let text = "";
    let code = lost;
    for await (const chunk of response.body) {
      text += decoder.decode(chunk, { stream: true });
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) code = readBlock(block, listener) ?? code;
    }
    return code;
  };
  const over = read().catch((error) => {
    if (abort.signal.aborted) return lost;
    throw error;
  });
  return { over, leave: () => abort.abort() };
};

/** @returns the code of a `longwire.close` event */
function readBlock(block: string, listener: Listener): number | undefined {
  const field = (name: string): string => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1] ?? "";
  const id = field("id");
  switch (field("event")) {
    case "longwire.open":
      listener.opened(id, JSON.parse(field("data")).topics[0].resumed);
      break;
    case "longwire.gap":
      listener.gap(JSON.parse(field("data")).requested, id);
      break;
    case "longwire.close":
      return JSON.parse(field("data")).code;
    default:
      if (id) listener.message(id);
  }
  return undefined;
}

export class Follower {
  readonly #stage: Stage;
  readonly #transport: Transport;
  /** A public topic, or one that asks for a token. */
  readonly topic: string;
  readonly #needsToken: boolean;
  /** The last id seen. */
  #last: string | undefined;

  constructor(stage: Stage, transport: Transport, topic: string) {
    this.#stage = stage;
    this.#transport = transport;
    this.topic = topic;
    this.#needsToken = !topic.startsWith("open/");
  }

  /** Connects and leaves until the end of the soak. */
  async run(): Promise<void> {
    const { random, stopping, tally } = this.#stage;
    while (!stopping.aborted) {
      const visit = await this.#come();
      const code = await Promise.race([visit.over, pause(random.between(1, 30), stopping)]);
      visit.leave();
      await within(visit.over, "a visit to end");
      if (code === unauthorized) tally.expired++;
      else if (code !== undefined) tally.fault(`a follower of ${this.topic} was closed with ${code}`);
      // Sometimes for longer than messages are retained.
      await pause(random.chance(0.03) ? 35 : random.fraction() * 3, stopping);
    }
  }

  /** Connects once more, and leaves when it has the last message. */
  async catchUp(position: string): Promise<void> {
    const visit = await this.#come();
    const deadline = performance.now() + 10_000;
    while (this.#last !== position && performance.now() < deadline) await Bun.sleep(50);
    visit.leave();
    if (this.#last !== position)
      this.#stage.tally.fault(`a follower of ${this.topic} is at ${this.#last}, not at ${position}`);
  }

  async #come(): Promise<Visit> {
    const { tally, random } = this.#stage;
    const since = this.#last;
    const token = this.#needsToken ? await makeToken(this.topic, random.between(5, 20)) : undefined;
    let hasReportedGap = false;
    let mayHaveGap = false;
    return this.#transport(this.#stage, this.topic, since, token, {
      opened: (id, resumed) => {
        this.#last = id;
        if (since === undefined) return;
        mayHaveGap = !resumed;
        if (resumed) tally.resumed++;
        if (resumed && id !== since) tally.fault(`${this.topic} resumed from ${id}, not from ${since}`);
      },
      gap: (requested, from) => {
        // A message always followed within the position's age, and a kill does not lose a topic on disk.
        if (tally.restarts > 0 && epochOf(requested) !== epochOf(from))
          tally.fault(`${this.topic} began the epoch of ${from} after ${requested}`);
        hasReportedGap = true;
        tally.gaps++;
        this.#last = from;
      },
      message: (id) => {
        if (mayHaveGap && !hasReportedGap)
          tally.fault(`${this.topic} was not resumed, and no gap was reported`);
        const next = after(this.#last);
        if (id === next) tally.received++;
        else tally.fault(`${id} came in ${this.topic} where ${next} was next`);
        this.#last = id;
      },
    });
  }
}

const epochOf = (id: string): string => id.slice(0, id.lastIndexOf("-"));

function after(id: string | undefined): string | undefined {
  if (id === undefined) return undefined;
  const dash = id.lastIndexOf("-");
  return `${id.slice(0, dash)}-${Number(id.slice(dash + 1)) + 1}`;
}

/** Follows by a raw socket, which has no ids: it checks the numbers that publishers write into their messages. */
export async function followRaw(stage: Stage, topic: string): Promise<void> {
  const { server, tally, random, stopping } = stage;
  while (!stopping.aborted) {
    const socket = new WebSocket(server.socketUrl(`/topics/${topic}`));
    const over = Promise.withResolvers<number>();
    let last: number | undefined;
    socket.onmessage = ({ data }) => {
      const number = Number.parseInt(String(data), 10);
      if (last === undefined || number === last + 1) tally.received++;
      else tally.fault(`raw ${topic}: ${number} came after ${last}`);
      last = number;
    };
    socket.onclose = ({ code }) => over.resolve(code);
    const code = await Promise.race([over.promise, pause(random.between(1, 30), stopping)]);
    if (code !== undefined) tally.fault(`a raw socket of ${topic} was closed with ${code}`);
    socket.close();
    await within(over.promise, "a raw socket to close");
    await pause(random.fraction() * 2, stopping);
  }
}
