/**
 * URLs of Redis servers: `redis://user:password@host:6379/0`, the same with `rediss:`, and `unix:///path?db=0`.
 *
 * The client library ignores a query, a fragment and a user without a password, and fails at each connection for a percent
 * sign that begins no character. All of them are refused, since the server would use another database, or never connect.
 */

import { UnitError } from "./unit-error.ts";

/** A Redis server, and who connects to it. */
export interface RedisServer extends RedisAddress {
  /** A secret, because it may hold a password. */
  readonly url: string;
}

/** Where it is. */
interface RedisAddress {
  /** `redis://host:6379`, `rediss://host:6379` or `unix:///path`. */
  readonly server: string;
  readonly database: number;
}

const form = "redis://user:password@host:6379/0, or the same with rediss://, or unix:///path?db=0";

/**
 * @returns undefined for an empty text
 * @throws {UnitError} which does not repeat the text: it may hold a password
 */
export function parseRedisUrl(text: unknown): RedisServer | undefined {
  if (text === "") return undefined;
  const url = typeof text === "string" ? text : "";
  if (/%(?![0-9a-f]{2})/i.test(url) || !isDecodable(url))
    throw new UnitError('has a "%" that begins no character: in a password "%" is written %25');
  if (url.includes("#"))
    throw new UnitError('has a "#", which begins a fragment and is ignored: in a password it is written %23');
  const address = url.startsWith("unix:") ? parseUnix(url) : parseTcp(url);
  if (!address) throw new UnitError(`must be ${form}`);
  return { url, ...address };
}

/** The address as a URL of the same form; empty for none. */
export function showRedisServer(address: RedisServer | undefined): string {
  if (!address) return "";
  return `${address.server}${address.server.startsWith("unix:") ? "?db=" : "/"}${address.database}`;
}

function parseTcp(text: string): RedisAddress | undefined {
  const url = URL.parse(text);
  if (!url || !/^rediss?:\/\//.test(text)) return undefined;
  const { protocol, username, password, hostname, port, pathname, search } = url;
  if (search !== "" || text.endsWith("?"))
    throw new UnitError(
      'has a query, which is ignored: write redis://user:password@host:6379/0, and "?" in a password as %3F',
    );
  requirePassword(username, password);
  const [, database] = /^\/?(\d*)$/.exec(pathname) ?? [];
  if (database === undefined || !/^(?:[\w.-]+|\[[0-9a-f:.]+\])$/i.test(hostname)) return undefined;
  return { server: `${protocol}//${hostname}:${port || 6379}`, database: Number(database) };
}

/** The library takes a user and the database in the query. */
function parseUnix(text: string): RedisAddress | undefined {
  const match = /^unix:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?(\/[^?]+)(?:\?db=(\d+))?$/.exec(text);
  if (!match) return undefined;
  const [, user = "", password = "", path, database = "0"] = match;
  requirePassword(user, password);
  return { server: `unix://${path}`, database: Number(database) };
}

function requirePassword(user: string, password: string): void {
  if (user === "" || password !== "") return;
  throw new UnitError(
    "has a user without a password, which is ignored: write user:password@, or :password@ for the default user",
  );
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch (error) {
    if (error instanceof URIError) return false;
    throw error;
  }
}
