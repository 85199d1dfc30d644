/** The way in to /ping and /topics: from a request to what its sender may do, or to a refusal. */

import { Refusal } from "../http/refusal.ts";
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import { ConfigError, type HandlerConfig } from "../settings/config.ts";
import { closeCode } from "../wire/close-code.ts";
import { type Access, type Action, type Grant, KeysUnavailable, TokenError } from "./tokens.ts";

/** An application's own rule, asked where no token allows it. */
export type Authorize = (
  request: Request,
  wish: { readonly topic: string; readonly action: Action },
) => boolean | Promise<boolean>;

/** What the sender of one request may do, for as long as its connection lasts. */
export interface Pass {
  /** Whose idempotency keys its own are. */
  readonly subject: string;
  /** Milliseconds since 1970 at which its connections end. */
  readonly expiresTime: number;
  /** @throws {Refusal} */
  require(action: Action, topic: string): void | Promise<void>;
}

/** How long the answer to a wrong token is held back: nothing to a person, much to whoever tries them out. */
const wrongTokenDelaySeconds = 0.5;

/** How soon to try again what failed because the public keys could not be fetched. */
const keysRetrySeconds = 5;

/** Answers held back at once; past it they are refused without waiting, so that they cost no memory. */
const delayedAnswersMax = 1000;

export class Gate {
  readonly #access: Access;
  readonly #authorize: Authorize | undefined;
  readonly #tokenCookie: string;
  readonly #counters: Counters;
  readonly #log: Logger;
  /** The same for everyone while the server is open, so that a connection pays nothing for it. */
  readonly #openPass: Pass | undefined;
  #delayedAnswers = 0;

  /** @throws {ConfigError} */
  constructor(
    access: Access,
    config: Pick<HandlerConfig, "tokenCookie" | "origins">,
    authorize: Authorize | undefined,
    counters: Counters,
    log: Logger,
  ) {
    if (config.tokenCookie && config.origins.includes("*")) {
      throw new ConfigError(
        "--token-cookie and --origin * do not go together: a browser sends the cookie along for every page, so any of " +
          "them could act as its visitor. Name the origins",
      );
    }
    this.#access = access;
    this.#authorize = authorize;
    this.#tokenCookie = config.tokenCookie;
    this.#counters = counters;
    this.#log = log;
    if (!this.#access.hasKeys && !authorize)
      this.#openPass = { subject: "", expiresTime: Number.POSITIVE_INFINITY, require: () => undefined };
  }

  /** Whether everyone may do everything. */
  get isOpen(): boolean {
    return this.#openPass !== undefined;
  }

  /** @throws {Refusal} for a token that is wrong, or cannot be told from a wrong one now; what is missing is found out by what the pass is asked for */
  async enter(request: Request): Promise<Pass> {
    if (this.#openPass) return this.#openPass;
    const token = this.#tokenOf(request);
    const grant = await this.#grantOf(token);
    const hasToken = token !== undefined;
    // Kept for as long as the connection only where someone will look at it again.
    const asked = this.#authorize ? request : undefined;
    return {
      subject: grant.subject,
      expiresTime: grant.expiresTime,
      require: (action, topic) =>
        grant.allows(action, topic) ? undefined : this.#ask(asked, hasToken, action, topic),
    };
  }

  /** @throws {Refusal} where no token came */
  async requireToken(request: Request): Promise<Pass> {
    const pass = await this.enter(request);
    if (!this.#openPass && this.#tokenOf(request) === undefined) throw this.#missing();
    return pass;
  }

  async #grantOf(token: string | undefined): Promise<Grant> {
    try {
      return await this.#access.grantOf(token);
    } catch (error) {
      if (error instanceof KeysUnavailable) {
        this.#counters.refused.unavailable++;
        this.#log.warn({ err: error }, "the public keys of tokens cannot be fetched");
        const headers = { "Retry-After": String(keysRetrySeconds) };
        throw new Refusal(503, closeCode.tryAgainLater, "Tokens cannot be checked now; try again.", headers);
      }
      if (!(error instanceof TokenError)) throw error;
      this.#counters.refused.token++;
      await this.#slowDown();
      throw new Refusal(401, closeCode.unauthorized, error.message, {
        "WWW-Authenticate": 'Bearer error="invalid_token"',
      });
    }
  }

  async #ask(request: Request | undefined, hasToken: boolean, action: Action, topic: string): Promise<void> {
    if (request && this.#authorize && (await this.#authorize(request, { topic, action }))) return;
    if (!hasToken && this.#access.hasKeys) throw this.#missing();
    this.#counters.refused.permission++;
    throw new Refusal(403, closeCode.forbidden, `Not allowed to ${action} to ${topic}.`, {
      "WWW-Authenticate": 'Bearer error="insufficient_scope"',
    });
  }

  #missing(): Refusal {
    this.#counters.refused.token++;
    return new Refusal(
      401,
      closeCode.unauthorized,
      "A token is needed: send Authorization: Bearer <token>.",
      {
        "WWW-Authenticate": "Bearer",
      },
    );
  }

  async #slowDown(): Promise<void> {
    if (this.#delayedAnswers >= delayedAnswersMax) return;
    this.#delayedAnswers++;
    await Bun.sleep(wrongTokenDelaySeconds * 1000);
    this.#delayedAnswers--;
  }

  /** Presented as RFC 6750 has it, or in one of the ways that a page has, which can set no header. */
  #tokenOf(request: Request): string | undefined {
    const { headers } = request;
    const authorization = /^Bearer +(\S+)$/i.exec(headers.get("authorization") ?? "")?.[1];
    if (authorization) return authorization;
    const offered = /(?:^|,)\s*bearer\.([^\s,]+)/.exec(headers.get("sec-websocket-protocol") ?? "")?.[1];
    if (offered) return offered;
    const parameter = new URL(request.url).searchParams.get("access_token");
    if (parameter) return parameter;
    // A permitted Origin was checked before this; without one only the page's own site is known to be behind it.
    const isOwnPage = headers.has("origin") || headers.get("sec-fetch-site") === "same-origin";
    if (!this.#tokenCookie || !isOwnPage) return undefined;
    return new Bun.CookieMap(headers.get("cookie") ?? "").get(this.#tokenCookie) ?? undefined;
  }
}
