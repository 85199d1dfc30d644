/** Why Redis cannot be used, in words for the operator. */
import { BrokerUnavailable } from "../../topic/broker.ts";
import { reasonOf } from "./link.ts";

/** @throws {BrokerUnavailable} for whatever fails `answer` */
export async function translated<Answer>(answer: Promise<Answer>): Promise<Answer> {
  try {
    return await answer;
  } catch (error) {
    throw unavailable(error);
  }
}

export function unavailable(error: unknown): BrokerUnavailable {
  if (error instanceof BrokerUnavailable) return error;
  return new BrokerUnavailable(wordsOf(reasonOf(error)));
}

/** The word that begins an error of Redis. */
export const errorCode = (error: unknown): string =>
  error instanceof Error ? (error.message.split(" ", 1)[0] ?? "") : "";

/** What the operator can do about an error of Redis, by the word that begins it. */
const words: Readonly<Record<string, string>> = {
  OOM: "Redis is full: raise its maxmemory, or lower --history-messages or --history-age",
  LOADING: "Redis is loading its data",
  READONLY: "this server is a replica: --redis must lead to the primary",
  MISCONF: "Redis cannot write its data to disk, and refuses to accept more",
  NOREPLICAS: "too few replicas are connected",
  NOAUTH: "Redis asks for a password: give it in --redis, as in redis://:password@host",
  WRONGPASS: "Redis refuses the user or password of --redis",
  NOPERM: "the Redis user lacks a permission (docs/clustering.md has the list)",
  NOREPLID: "this server hides master_replid, so that a failover that loses messages could not be seen",
  KINDS: "nodes with other settings have taken over",
  BUSY: "Redis is busy with a script",
};

export function wordsOf(message: string): string {
  const [first = ""] = message.split(" ", 1);
  // Within a script a lacking permission is an error without a word of its own.
  const code = message.startsWith("ERR The user executing the script") ? "NOPERM" : first;
  return words[code] ? `${words[code]} (${message})` : message;
}
