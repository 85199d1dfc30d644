/**
 * URLs of Redis servers: `redis://user:password@host:6379/0`, the same with `rediss:`, and `unix:///path?db=0`.
 *
 * The client library ignores a query, a fragment and a user without a password, and fails at each connection for a percent
 * sign that begins no character. All of them are refused, since the server would use another database, or never connect.
 */

/** Where a Redis server is, without who connects to it. */
export interface RedisAddress {
  /** `redis://host:6379`, `rediss://host:6379` or `unix:///path`. */
  readonly server: string;
  readonly database: number;
}

const form = "redis://user:password@host:6379/0, or the same with rediss://, or unix:///path?db=0";

/** @returns the address, or what is wrong with the text, which does not repeat it: it may hold a password */
export function parseRedisUrl(text: string): RedisAddress | string {
  if (/%(?![0-9a-f]{2})/i.test(text) || !isDecodable(text))
    return 'has a "%" that begins no character: in a password "%" is written %25';
  if (text.includes("#"))
    return 'has a "#", which begins a fragment and is ignored: in a password it is written %23';
  return (text.startsWith("unix:") ? parseUnix(text) : parseTcp(text)) ?? `must be ${form}`;
}

/** The address as a URL of the same form, for the log. */
export function showRedisUrl(text: string): string {
  const address = text === "" ? "" : parseRedisUrl(text);
  if (typeof address === "string") return "";
  return `${address.server}${address.server.startsWith("unix:") ? "?db=" : "/"}${address.database}`;
}

function parseTcp(text: string): RedisAddress | string | undefined {
  const url = URL.parse(text);
  if (!url || !/^rediss?:\/\//.test(text)) return undefined;
  const { protocol, username, password, hostname, port, pathname, search } = url;
  if (search !== "" || text.endsWith("?"))
    return 'has a query, which is ignored: write redis://user:password@host:6379/0, and "?" in a password as %3F';
  if (!isUser(username, password)) return userAlone;
  const [, database] = /^\/?(\d*)$/.exec(pathname) ?? [];
  if (database === undefined || !/^(?:[\w.-]+|\[[0-9a-f:.]+\])$/i.test(hostname)) return undefined;
  return { server: `${protocol}//${hostname}:${port || 6379}`, database: Number(database) };
}

/** The library takes a user and the database in the query. */
function parseUnix(text: string): RedisAddress | string | undefined {
  const match = /^unix:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?(\/[^?]+)(?:\?db=(\d+))?$/.exec(text);
  if (!match) return undefined;
  const [, user = "", password = "", path, database = "0"] = match;
  return isUser(user, password) ? { server: `unix://${path}`, database: Number(database) } : userAlone;
}

const isUser = (user: string, password: string): boolean => user === "" || password !== "";

const userAlone =
  "has a user without a password, which is ignored: write user:password@, or :password@ for the default user";

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch (error) {
    if (error instanceof URIError) return false;
    throw error;
  }
}
