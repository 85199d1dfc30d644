/** What the URL and headers of a request to /topics ask for beside its topics and where they begin. */
import type { Access } from "../../access/access.ts";
import { malformed } from "../../http/refusal.ts";
import type { RequestContext } from "../../http/request-context.ts";
import type { Condition } from "../../topic/broker.ts";
import type { Hub } from "../../topic/hub.ts";
import { faultOfKey } from "../../topic/key.ts";
import { type Position, parseId } from "../../topic/message.ts";
import type { Member } from "../../topic/presence.ts";

/** The key of keyed topics that a request names: `?key=`. @throws {Refusal} */
export function readKey(
  context: RequestContext,
  topics: readonly string[],
  isKeyed: (topic: string) => boolean,
) {
  if (context.search === "") return undefined;
  const [key, ...others] = context.query.getAll("key");
  if (key === undefined) return undefined;
  if (others.some((other) => other !== key)) throw malformed("?key= is there twice, and names two keys.");
  const plain = topics.find((topic) => !isKeyed(topic));
  if (plain !== undefined)
    throw malformed(
      `The topic ${plain} is not keyed, so it has no ?key=. Topics are keyed by --keyed <pattern>.`,
    );
  const fault = faultOfKey(key);
  if (fault) throw malformed(fault);
  return key;
}

/**
 * Whom a line stands for by `?member=<name>`, which anyone can write: so only where everyone may do everything.
 * @param isLine whether the request opens a WebSocket or an event stream
 * @throws {Refusal}
 */
export function readMember(
  context: RequestContext,
  topics: readonly string[],
  isLine: boolean,
  { access, hub }: MemberDeps,
): Member | undefined {
  if (context.search === "") return undefined;
  const [key, ...others] = context.query.getAll("member");
  if (key === undefined) return undefined;
  if (!access.isOpen)
    throw malformed(
      'Only a server without keys takes ?member=. Here the token says it, by its "sub" and the claim "member": true.',
    );
  if (!isLine) requireNoMember(context);
  if (others.some((other) => other !== key))
    throw malformed("?member= is there twice, and names two members.");
  if (!topics.some((topic) => hub.hasPresence(topic)))
    throw malformed(
      `The topic ${topics[0]} has no presence, so it has no members. Topics have it by --presence <pattern>.`,
    );
  const fault = faultOfKey(key);
  if (fault) throw malformed(`?member= is the key of the member. ${fault}`);
  return { key, info: "true", issuedSeconds: 0 };
}

/** What decides whether a client may name its member itself. */
export interface MemberDeps {
  readonly access: Pick<Access, "isOpen">;
  readonly hub: Pick<Hub, "hasPresence">;
}

/** For a request that opens no line. @throws {Refusal} */
export function requireNoMember({ search, query }: RequestContext): void {
  if (search !== "" && query.has("member"))
    throw malformed("?member= is for a WebSocket or an event stream: nobody is seen by another request.");
}

/** What names one value is for one topic. @throws {Refusal} */
export function requireOneKeyed(
  [topic, ...others]: readonly string[],
  isKeyed: (topic: string) => boolean,
): string {
  if (topic !== undefined && others.length === 0 && isKeyed(topic)) return topic;
  throw malformed("A key, If-Match and If-None-Match are for one keyed topic.");
}

/** What `If-Match` and `If-None-Match` ask of the key that a request changes (RFC 9110 section 13.1). @throws {Refusal} */
export function readCondition({ headers }: Request): Condition | undefined {
  const match = headers.get("if-match");
  const noneMatch = headers.get("if-none-match");
  if (match !== null && noneMatch !== null) throw malformed("If-Match and If-None-Match exclude each other.");
  if (noneMatch === "*") return { kind: "absent" };
  if (noneMatch !== null)
    throw malformed("If-None-Match must be * here: publish only if the key has no value.");
  if (match === null) return undefined;
  return match === "*" ? { kind: "present" } : { kind: "at", positions: readTags("If-Match", match) };
}

/** An entity tag, and what separates it from the next (RFC 9110 section 8.8.3). */
const entityTag = /\s*(?:W\/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)/y;

/**
 * The ids in a list of entity tags. A tag that is not ours matches nothing; a weak one means the same as a strong one here.
 * @throws {Refusal}
 */
export function readTags(name: string, header: string): Position[] {
  const positions: Position[] = [];
  entityTag.lastIndex = 0;
  for (let at = 0; at < header.length; at = entityTag.lastIndex) {
    const [, tag] = entityTag.exec(header) ?? [];
    if (tag === undefined) throw malformed(`${name} must be * or a list of tags, such as "k3-7".`);
    const position = parseId(tag);
    if (position) positions.push(position);
  }
  return positions;
}

/** Whether a POST asks that its topics end: `?end`. @throws {Refusal} */
export function readEnd(context: RequestContext): boolean {
  if (context.search === "") return false;
  const text = context.query.get("end");
  if (text === null || text === "false") return false;
  if (text === "" || text === "true") return true;
  throw malformed("end takes no value: POST /topics/answers/42?end.");
}
