/** The way in to /ping and /topics: from a request to what its sender may do, or to a refusal. */
import { Refusal, retryAfter } from "../http/refusal.ts";
import type { RequestContext } from "../http/request-context.ts";
import type { Logger } from "../log.ts";
import { ConfigError, type HandlerConfig } from "../settings/config.ts";
import { ApiKeys } from "./api-keys.ts";
import { ClientMembers } from "./client-members.ts";
import { tokenOf } from "./credentials.ts";
import {
  type Action,
  type Authorize,
  AuthorizedPermissions,
  type Permissions,
  type TopicPatterns,
  TopicPermissions,
} from "./permissions.ts";
import { anonymous, keySender, tokenSender } from "./publishers.ts";
import { KeysUnavailable, TokenError } from "./token-errors.ts";
import { Tokens } from "./tokens.ts";

/** What access control needs of the server. */
export interface AccessDeps {
  readonly config: HandlerConfig;
  readonly authorize: Authorize | undefined;
  readonly log: Logger;
}

/** The keys that can be replaced while the server runs. */
export type AccessKeys = Pick<HandlerConfig, "apiKeys" | "jwtSecrets" | "jwtPublicKeys">;

const everyTopic: TopicPatterns = { subscribe: ["*"], publish: ["*"], end: ["*"], presence: ["*"] };

export class Access {
  readonly #deps: AccessDeps;
  #keys: AccessKeys;
  #apiKeys: ApiKeys;
  readonly #members: ClientMembers;
  readonly #tokens: Tokens;
  /** Without any key tokens cannot be checked, so they are not read. */
  readonly #hasKeys: boolean;
  /** Whether everyone may do everything. */
  readonly isOpen: boolean;
  /** Shared by all requests without a token. */
  readonly #withoutToken: TopicPermissions;
  /** By the name of the key. Shared by all requests with the key. */
  #ofApiKeys: ReadonlyMap<string, TopicPermissions>;

  /** @throws {ConfigError} */
  constructor(deps: AccessDeps) {
    const { config, authorize, log } = deps;
    this.#deps = deps;
    const { apiKeys, jwtSecrets, jwtPublicKeys } = config;
    this.#keys = { apiKeys, jwtSecrets, jwtPublicKeys };
    this.#apiKeys = new ApiKeys(apiKeys);
    this.#members = new ClientMembers(config.jwtIssuers, log);
    this.#tokens = new Tokens(
      config,
      (verified) => {
        const { issuer, subject, expiresTime, subscribe, publish, end, presence, status } = verified;
        const patterns = { subscribe: [...config.publicTopics, ...subscribe], publish, end, presence };
        const sender = tokenSender(issuer, subject, config.stampSender);
        const member = this.#members.ofToken(verified);
        return new TopicPermissions(sender, expiresTime, patterns, forbidden, status, member);
      },
      (error) =>
        log.warn({ err: error }, "the public keys of tokens cannot be fetched; those known stay valid"),
    );
    this.#hasKeys = !this.#apiKeys.isEmpty || this.#tokens.hasKeys;
    this.isOpen = !this.#hasKeys && !authorize;
    this.#withoutToken = new TopicPermissions(
      anonymous,
      Number.POSITIVE_INFINITY,
      this.isOpen ? everyTopic : { subscribe: config.publicTopics, publish: [], end: [], presence: [] },
      this.#hasKeys ? missing : forbidden,
      this.isOpen,
    );
    this.#ofApiKeys = permissionsByKey(this.#apiKeys);
  }

  get apiKeys(): ApiKeys {
    return this.#apiKeys;
  }

  /**
   * From now on requests are checked with these keys, and with the former ones of a kind that is left out. Permissions that
   * were given stay.
   * @throws {ConfigError} before anything is changed, if a kind of key would come or go
   */
  useKeys(given: Partial<AccessKeys>): void {
    const keys = { ...this.#keys, ...given };
    const { apiKeys } = keys;
    if (this.#apiKeys.isEmpty !== (apiKeys.length === 0))
      throw new ConfigError("The first API key can be set, and the last one taken away, only by a restart");
    this.#tokens.useKeys(keys);
    this.#keys = keys;
    this.#apiKeys = new ApiKeys(apiKeys);
    this.#ofApiKeys = permissionsByKey(this.#apiKeys);
  }

  /**
   * A request without a token is not refused here: its permissions refuse each topic that is not public.
   * @throws {Refusal} for a wrong token, and for one that cannot be checked now
   */
  authenticate(context: RequestContext): Permissions | Promise<Permissions> {
    const granted = this.#granted(context);
    const { authorize } = this.#deps;
    return authorize ? this.#extended(granted, authorize, context.request) : granted;
  }

  /**
   * For a private /ping, which any valid token opens. Where no token can be checked, because there is no key, `authorize`
   * is asked for the action `subscribe` on the topic `ping`.
   * @throws {Refusal} also for a request without a token
   */
  async authenticatePing(context: RequestContext): Promise<Permissions> {
    const permissions = await this.authenticate(context);
    const { config, authorize } = this.#deps;
    if (this.#hasKeys) {
      if (tokenOf(context, config.tokenCookie) === undefined) throw missing();
    } else if (authorize && !(await authorize(context.request, { topic: "ping", action: "subscribe" }))) {
      throw forbidden("subscribe", "ping");
    }
    return permissions;
  }

  /**
   * For GET /status: an API key, or a token with the claim `status`. Without any key everyone, unless there is `authorize`.
   * @throws {Refusal}
   */
  async authenticateStatus(context: RequestContext): Promise<Permissions> {
    const permissions = await this.#granted(context);
    if (permissions.allowsStatus) return permissions;
    if (this.#hasKeys && permissions === this.#withoutToken) throw missing();
    const detail =
      'Not allowed to read the status: use the API key, or a token with the claim "status": true.';
    throw new Refusal("permission", detail, { "WWW-Authenticate": 'Bearer error="insufficient_scope"' });
  }

  /** What the token of a request allows. Most tokens were presented before, and nothing is waited for. */
  #granted(context: RequestContext): TopicPermissions | Promise<TopicPermissions> {
    // Without any key no token can be checked, so none is read.
    const token = this.#hasKeys ? tokenOf(context, this.#deps.config.tokenCookie) : undefined;
    if (token === undefined) return this.#withoutToken;
    const ofApiKey = this.#ofApiKeys.get(this.#apiKeys.nameOf(token) ?? "");
    return ofApiKey ?? this.#tokens.known(token) ?? this.#verified(token);
  }

  async #extended(
    granted: TopicPermissions | Promise<TopicPermissions>,
    authorize: Authorize,
    request: Request,
  ): Promise<Permissions> {
    const rule = { authorize, isStamped: this.#deps.config.stampSender, members: this.#members };
    return new AuthorizedPermissions(await granted, request, rule);
  }

  async #verified(token: string): Promise<TopicPermissions> {
    try {
      return await this.#tokens.permissionsOf(token);
    } catch (error) {
      if (error instanceof KeysUnavailable) {
        const detail = "Tokens cannot be checked now; try again.";
        throw new Refusal("unavailable", detail, retryAfter(error.retrySeconds));
      }
      if (!(error instanceof TokenError)) throw error;
      throw new Refusal("token", error.message, { "WWW-Authenticate": 'Bearer error="invalid_token"' });
    }
  }
}

function permissionsByKey({ names }: ApiKeys): ReadonlyMap<string, TopicPermissions> {
  return new Map(
    names.map((name) => [
      name,
      new TopicPermissions(keySender(name), Number.POSITIVE_INFINITY, everyTopic, forbidden, true),
    ]),
  );
}

const missing = (): Refusal =>
  new Refusal("token", "A token is needed: send Authorization: Bearer <token>.", {
    "WWW-Authenticate": "Bearer",
  });

/** Each action in words that a topic's name follows. */
const deeds: Readonly<Record<Action, string>> = {
  subscribe: "subscribe to",
  publish: "publish to",
  end: "end",
  presence: "read the presence of",
};

const forbidden = (action: Action, topic: string): Refusal =>
  new Refusal("permission", `Not allowed to ${deeds[action]} ${topic}.`, {
    "WWW-Authenticate": 'Bearer error="insufficient_scope"',
  });
