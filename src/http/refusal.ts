/** Refusals: one reason, sent in both protocols as an HTTP answer or as the close code of a WebSocket, and counted. */
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import { brokerRetrySeconds } from "../settings/limits.ts";
import {
  BrokerUnavailable,
  ConditionFailed,
  IdempotencyConflict,
  KeyAbsent,
  StreamTakenOver,
  TopicEnded,
  TopicFull,
} from "../topic/broker.ts";
import { DraftError } from "../topic/draft.ts";
import { TopicIsFeed } from "../topic/hub.ts";
import { formatId } from "../topic/message.ts";
import { PresenceFull } from "../topic/presence.ts";
import { closeCode } from "../wire/close-code.ts";
import { ItemSizeError } from "../wire/item-size.ts";
import { type ProblemStatus, problem } from "./problem.ts";
import type { Answer, Handler, RequestContext } from "./request-context.ts";

/** The values of the label `reason` of longwire_refused_total. */
export type RefusalReason = keyof Counters["refused"];

/** The status of the HTTP answer, and the code of the Close frame. */
const answers: Readonly<Record<RefusalReason, readonly [ProblemStatus, number]>> = {
  malformed: [400, closeCode.policyViolation],
  token: [401, closeCode.unauthorized],
  origin: [403, closeCode.policyViolation],
  host: [403, closeCode.policyViolation],
  permission: [403, closeCode.forbidden],
  not_found: [404, closeCode.policyViolation],
  method: [405, closeCode.policyViolation],
  silence: [408, closeCode.tryAgainLater],
  ended: [409, closeCode.ended],
  taken_over: [409, closeCode.policyViolation],
  not_resumable: [410, closeCode.cannotResume],
  precondition: [412, closeCode.policyViolation],
  message_size: [413, closeCode.tooBig],
  content_encoding: [415, closeCode.policyViolation],
  expectation: [417, closeCode.policyViolation],
  conflict: [422, closeCode.policyViolation],
  upgrade: [426, closeCode.policyViolation],
  connections_per_ip: [429, closeCode.tryAgainLater],
  fault: [500, closeCode.serverFault],
  connections: [503, closeCode.tryAgainLater],
  unavailable: [503, closeCode.tryAgainLater],
  draining: [503, closeCode.serviceRestart],
  presence_full: [503, closeCode.tryAgainLater],
  topic_full: [507, closeCode.tryAgainLater],
};

export class Refusal extends Error {
  readonly status: ProblemStatus;
  /** The code of the Close frame, sent where a page must be able to read it. */
  readonly code: number;

  /**
   * @param message what was wrong and what to do, for a person; a Close frame takes its first 123 bytes
   * @param members further members of the HTTP answer (RFC 9457 section 3.2)
   */
  constructor(
    readonly reason: RefusalReason,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
    readonly members: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
    [this.status, this.code] = answers[reason];
  }

  /** The same refusal with further members. */
  with(members: Readonly<Record<string, unknown>>): Refusal {
    return new Refusal(this.reason, this.message, this.headers, { ...this.members, ...members });
  }

  response(): Response {
    return problem(this.status, this.message, this.headers, this.members);
  }
}

/** For a request that breaks a rule. @param detail names the rule */
export const malformed = (detail: string): Refusal => new Refusal("malformed", detail);

/** The header of a refusal that ends by itself after some time. */
export const retryAfter = (seconds: number): { "Retry-After": string } => ({
  "Retry-After": String(seconds),
});

/** For a connection that is ended because all together hold too much. */
export const holdsTooMuch = (): Refusal =>
  new Refusal(
    "unavailable",
    "All connections together hold too much (--max-buffered-total); try again.",
    retryAfter(brokerRetrySeconds),
  );

/** For a request whose connection is ended with a close code before it is answered. */
export function refusalOfClose(code: number, reason: string): Refusal {
  if (code !== closeCode.unauthorized)
    return new Refusal("draining", `${reason}: continue at another node.`, retryAfter(brokerRetrySeconds));
  const expired = { "WWW-Authenticate": 'Bearer error="invalid_token"' };
  return new Refusal("token", `${reason}: continue with a new one.`, expired);
}

/** The refusal that answers an error that a request can cause; undefined for one that no code foresaw. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof Refusal) return error;
  if (error instanceof DraftError) return malformed(error.message);
  if (error instanceof ItemSizeError) {
    const detail = `A message has at most ${error.bytesMax} bytes (--max-message). Send less, or a reference to it.`;
    return new Refusal("message_size", detail);
  }
  if (error instanceof TopicEnded) {
    const detail = `The topic ${error.topic} has ended: nothing is published to it any more.`;
    return new Refusal("ended", detail, {}, { ended: formatId(error.end) });
  }
  if (error instanceof StreamTakenOver)
    return new Refusal("taken_over", "Another request with this Idempotency-Key has taken the stream over.");
  if (error instanceof IdempotencyConflict) {
    const detail =
      "This Idempotency-Key was used in the last 5 minutes with another body. Use a new key for a new message.";
    return new Refusal("conflict", detail);
  }
  if (error instanceof TopicIsFeed) return new Refusal("permission", error.message);
  if (error instanceof ConditionFailed) {
    const current = error.current ? formatId(error.current) : null;
    const now = current === null ? "The key has no value" : `The key's value is "${current}"`;
    const detail = `${now}, and the request asked for something else. Read it again, and decide anew.`;
    return new Refusal("precondition", detail, {}, { current });
  }
  if (error instanceof KeyAbsent)
    return new Refusal(
      "not_found",
      `The topic ${error.topic} has no value of this key: nothing was removed.`,
    );
  if (error instanceof TopicFull) {
    const detail = `The topic ${error.topic} takes no further value: ${error.bound}. Remove keys, or raise the bound.`;
    return new Refusal("topic_full", detail);
  }
  if (error instanceof PresenceFull)
    return new Refusal("presence_full", error.message, retryAfter(brokerRetrySeconds));
  if (error instanceof BrokerUnavailable)
    return new Refusal("unavailable", "The broker is away; try again.", retryAfter(brokerRetrySeconds));
  return undefined;
}

/** A handler that throws nothing. */
export type Answering = (context: RequestContext) => Promise<Answer>;

/** Turns errors into refusals. Each refusal passes here once, on its way to the client, and is counted. */
export class Refusals {
  readonly #refused: Counters["refused"];
  readonly #log: Logger;

  constructor({ refused }: Pick<Counters, "refused">, log: Logger) {
    this.#refused = refused;
    this.#log = log;
  }

  /** The refusal that answers an error. One that no code foresaw is logged, with an id that the client is given. */
  of(error: unknown): Refusal {
    const refusal = refusalOf(error) ?? this.#fault(error);
    this.count(refusal.reason);
    return refusal;
  }

  /** For a refusal that is answered in another way. */
  count(reason: RefusalReason): void {
    this.#refused[reason]++;
  }

  /** A handler that answers what `handler` throws. */
  answering(handler: Handler): Answering {
    return async (context) => {
      try {
        return await handler(context);
      } catch (error) {
        return this.of(error).response();
      }
    };
  }

  #fault(error: unknown): Refusal {
    const requestId = crypto.randomUUID();
    this.#log.error({ err: error, requestId }, "a request failed");
    return new Refusal("fault", `A fault of the server; its log has the cause, as ${requestId}.`);
  }
}
