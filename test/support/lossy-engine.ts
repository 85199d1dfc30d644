/**
 * Preloaded into the server: a message to the topic `lose-everything` makes the engine lose the past of every topic, like a
 * shared engine that was flushed. Connected subscribers then get a gap between two messages.
 */
import { MemoryBroker } from "../../src/engine/memory/broker.ts";
import type { BrokerListener } from "../../src/topic/broker.ts";

/** The limits of an engine that takes over from the lost one; tests start the server with the same flag. */
const limits = {
  historyMessages: 3,
  historyAgeSeconds: 600,
  historyBytesMax: 64 * 1024 * 1024,
  retain: [],
  keyed: [],
  keysMax: 1000,
  feeds: [],
  positionAgeSeconds: 86_400,
  positionBytesMax: 64 * 1024 * 1024,
  idempotencyBytesMax: 64 * 1024 * 1024,
};

const { listen, publish, subscribe, unsubscribe, history, positions, inspect } = MemoryBroker.prototype;
let listener: BrokerListener | undefined;
/** In place of the engine that the server made. */
let successor: MemoryBroker | undefined;
const engine: MemoryBroker = MemoryBroker.prototype;

engine.listen = function (given) {
  listener = given;
  listen.call(this, given);
};
engine.publish = function (topic, ...more) {
  if (topic === "lose-everything") loseEverything();
  return publish.call(successor ?? this, topic, ...more);
};
engine.subscribe = function (topic) {
  return subscribe.call(successor ?? this, topic);
};
engine.unsubscribe = function (topic) {
  unsubscribe.call(successor ?? this, topic);
};
engine.history = function (...asked) {
  return history.call(successor ?? this, ...asked);
};
engine.positions = function (topics) {
  return positions.call(successor ?? this, topics);
};

engine.inspect = function (topics) {
  return inspect.call(successor ?? this, topics);
};

function loseEverything(): void {
  if (!listener) throw new Error("the engine has no listener yet");
  successor = new MemoryBroker(limits);
  listen.call(successor, listener);
  listener.missed();
}
