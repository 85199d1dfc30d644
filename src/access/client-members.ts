/** Whom the lines of a client stand for, as its token or an application's own `authorize` names it. */
import type { Logger } from "../log.ts";
import { faultOfKey } from "../topic/key.ts";
import { faultOfInfo, isNoMember, jsonOfInfo } from "../topic/member-info.ts";
import type { Member } from "../topic/presence.ts";

/** The claims of a token that name a member. */
export interface MemberClaims {
  /** The claims `iss` and `sub`. */
  readonly issuer: string | undefined;
  readonly subject: string | undefined;
  /** The claim `member` as JSON; undefined where it asks for none. */
  readonly memberInfo: string | undefined;
  /** The claim `iat`; 0 without one. */
  readonly issuedSeconds: number;
}

/** What an `authorize` returned. */
export interface NamedMember {
  readonly subject?: string | undefined;
  readonly member?: unknown;
}

export class ClientMembers {
  readonly #hasOneIssuer: boolean;
  readonly #log: Logger;
  #hasLogged = false;

  /** @param issuers those of `--jwt-issuer` */
  constructor(issuers: readonly string[], log: Logger) {
    this.#hasOneIssuer = issuers.length === 1;
    this.#log = log;
  }

  /** The key is the `sub`, and `<iss>#<sub>` where two issuers could use the same one for two people. */
  ofToken({ issuer, subject, memberInfo, issuedSeconds }: MemberClaims): Member | undefined {
    if (memberInfo === undefined) return undefined;
    if (!subject) return this.#none("The token has no sub.");
    const key = this.#hasOneIssuer || issuer === undefined ? subject : `${issuer}#${subject}`;
    const fault = faultOfKey(key) ?? faultOfInfo(memberInfo);
    return fault === undefined ? { key, info: memberInfo, issuedSeconds } : this.#none(fault);
  }

  /** The key is the subject. @throws {Error} for a mistake of the application */
  ofAuthorization({ subject, member }: NamedMember): Member | undefined {
    if (isNoMember(member)) return undefined;
    const info = jsonOfInfo(member);
    if (info === undefined) throw new Error("authorize returned a member that is neither true nor an object");
    if (!subject) throw new Error("authorize returned a member without a subject, which is the member's key");
    const fault = faultOfInfo(info);
    if (fault) throw new Error(`authorize returned a member that is too large: ${fault}`);
    const keyFault = faultOfKey(subject);
    if (keyFault) return this.#none(keyFault);
    return { key: subject, info, issuedSeconds: Math.floor(Date.now() / 1000) };
  }

  /** Logged once, because clients cause it. */
  #none(reason: string): undefined {
    if (this.#hasLogged) return;
    this.#hasLogged = true;
    this.#log.warn(
      { reason },
      "a client that asks to be a member cannot be one: its lines open, and are not seen",
    );
  }
}
