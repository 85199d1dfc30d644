/** `subscribe` of the library: an iterator that ends with its loop, its signal and its server, and never hangs. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { getEventListeners } from "node:events";
import {
  createHandler,
  createServer,
  GapError,
  type ReceivedMessage,
  StoppedError,
} from "../../../src/longwire.ts";
import { deliveryCount } from "../../support/prometheus.ts";
import { inspect, newTopic } from "../../support/topics.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const quiet = { port: 0, logLevel: "silent" } as const;

const iteratorOf = (iterable: AsyncIterable<ReceivedMessage>): AsyncIterator<ReceivedMessage> =>
  iterable[Symbol.asyncIterator]();

const done = { done: true, value: undefined };

describe("an iterator that waits for a message", () => {
  test("ends when its server stops", async () => {
    const server = await createServer(quiet);
    const waiting = iteratorOf(server.subscribe("news")).next();
    await until(async () => (await inspect(server, "news")).subscribers === 1, "the subscription");
    await server.stop();
    expect(await within(waiting, "the end of the iterator")).toEqual(done as IteratorResult<ReceivedMessage>);
  });

  test("ends when its handler is disposed", async () => {
    const handler = createHandler({ logLevel: "silent" });
    const waiting = iteratorOf(handler.subscribe("news")).next();
    await handler[Symbol.asyncDispose]();
    expect(await within(waiting, "the end of the iterator")).toEqual(done as IteratorResult<ReceivedMessage>);
  });

  test("is ended by return(), which does not wait for a message", async () => {
    await using server = await createServer(quiet);
    const iterator = iteratorOf(server.subscribe("news"));
    const waiting = iterator.next();
    await until(async () => (await inspect(server, "news")).subscribers === 1, "the subscription");
    expect(await within(iterator.return?.() as Promise<unknown>, "return()")).toEqual(done);
    expect(await within(waiting, "the end of next()")).toEqual(done as IteratorResult<ReceivedMessage>);
    expect((await inspect(server, "news")).subscribers).toBe(0);
  });

  test("is ended by return() also while its subscription is being prepared, and leaves none behind", async () => {
    await using server = await createServer(quiet);
    const topic = newTopic();
    const iterator = iteratorOf(server.subscribe(topic));
    const waiting = iterator.next();
    await iterator.return?.();
    expect(await waiting).toEqual(done as IteratorResult<ReceivedMessage>);
    await server.publish(topic, "unheard");
    expect((await inspect(server, topic)).subscribers).toBe(0);
  });

  test("is ended by its signal, before and after it began", async () => {
    await using server = await createServer(quiet);
    const abort = new AbortController();
    const iterator = iteratorOf(server.subscribe("news", { signal: abort.signal }));
    const waiting = iterator.next();
    await until(async () => (await inspect(server, "news")).subscribers === 1, "the subscription");
    abort.abort();
    expect(await within(waiting, "the end of next()")).toEqual(done as IteratorResult<ReceivedMessage>);
    expect((await inspect(server, "news")).subscribers).toBe(0);
    const late = iteratorOf(server.subscribe("news", { signal: abort.signal }));
    expect(await late.next()).toEqual(done as IteratorResult<ReceivedMessage>);
  });

  test("leaves nothing at a signal that outlives it, nor at the server, however it ended", async () => {
    await using server = await createServer({ ...quiet, historyMessages: 1 });
    const { signal } = new AbortController();
    const { id } = await server.publish("gone", "one");
    for (const text of ["two", "three"]) await server.publish("gone", text);
    await server.publish("ended", "last", { end: true });
    for (const [topic, since] of [
      ["gone", id],
      ["ended", "all"],
    ] as const) {
      const iterator = iteratorOf(server.subscribe(topic, { signal, since }));
      for (let ended = false; !ended; )
        ended = (await iterator.next().catch(() => ({ done: true }))).done === true;
    }
    const returned = iteratorOf(server.subscribe("news", { signal }));
    const waiting = returned.next();
    await until(async () => (await inspect(server, "news")).subscribers === 1, "the subscription");
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    await returned.return?.();
    await waiting;

    expect(getEventListeners(signal, "abort")).toEqual([]);
    const socket = new WebSocket(new URL("/topics/news", server.url));
    const opened = Promise.withResolvers<unknown>();
    socket.onopen = opened.resolve;
    await within(opened.promise, "a socket that stays");
    const before = await deliveryCount(server);
    await server.publish("news", "to the socket alone");
    expect((await deliveryCount(server)) - before).toBe(1);
    socket.close();
  });
});

describe("an iterator", () => {
  test("answers calls of next() in their order, however many wait", async () => {
    await using server = await createServer(quiet);
    const iterator = iteratorOf(server.subscribe("news"));
    const waiting = [iterator.next(), iterator.next(), iterator.next()];
    await until(async () => (await inspect(server, "news")).subscribers === 1, "the subscription");
    for (const text of ["one", "two", "three"]) await server.publish("news", text);
    const received = await within(Promise.all(waiting), "three messages");
    expect(received.map(({ value }) => value?.data)).toEqual(["one", "two", "three"]);
    await iterator.return?.();
  });

  test("hands out what it has received before it ends with its server", async () => {
    const server = await createServer(quiet);
    const iterator = iteratorOf(server.subscribe("news", { since: "all" }));
    for (const text of ["one", "two", "three"]) await server.publish("news", text);
    expect((await iterator.next()).value?.data).toBe("one");
    await server.stop();
    const rest: unknown[] = [];
    for (let next = await iterator.next(); !next.done; next = await iterator.next())
      rest.push(next.value.data);
    expect(rest).toEqual(["two", "three"]);
  });

  test("throws at a gap, and is done after that", async () => {
    await using server = await createServer({ ...quiet, historyMessages: 1 });
    const { id } = await server.publish("news", "one");
    await server.publish("news", "two");
    const last = await server.publish("news", "three");
    const iterator = iteratorOf(server.subscribe("news", { since: id }));
    const error = await iterator.next().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(GapError);
    expect((error as GapError).name).toBe("GapError");
    expect((error as GapError).from).toBe(last.id.replace(/3$/, "2"));
    expect(await iterator.next()).toEqual(done as IteratorResult<ReceivedMessage>);
    expect((await inspect(server, "news")).subscribers).toBe(0);
  });

  test("of a stopped server cannot begin, and nothing can be published to it", async () => {
    const server = await createServer(quiet);
    await server.stop();
    await expect(server.publish("news", "late")).rejects.toBeInstanceOf(StoppedError);
    expect(() => server.subscribe("news")).toThrow(StoppedError);
  });

  test("that a program does not take from costs no more than --max-buffered, and misses nothing", async () => {
    await using server = await createServer({
      ...quiet,
      bufferedBytesMax: 64 * 1024,
      messageBytesMax: 16 * 1024,
      historyMessages: 1000,
    });
    const iterator = iteratorOf(server.subscribe("news"));
    const first = iterator.next();
    await until(async () => (await inspect(server, "news")).subscribers === 1, "the subscription");
    const texts = Array.from({ length: 500 }, (_, number) => `${number} `.padEnd(1000, "x"));
    for (const text of texts) await server.publish("news", text);
    const received = [(await first).value?.data];
    while (received.length < texts.length) received.push((await iterator.next()).value?.data);
    expect(received).toEqual(texts);
    await iterator.return?.();
  });
});
