/** The client and the host of a request that came through proxies: X-Forwarded-… headers, believed from trusted proxies only. */
import { type Address, type Network, parseAddress } from "../settings/networks.ts";
import { malformed } from "./refusal.ts";
import type { RequestContext } from "./request-context.ts";

/** The server that a client sent its request to, as the client knows it. */
export interface Target {
  /** With the port, unless it is the scheme's own. */
  readonly host: string;
  /** True if the client is known to use TLS. A proxy that is not trusted may have ended TLS without a word. */
  readonly isSecure: boolean;
}

export class Proxies {
  readonly #trusted: readonly Network[];

  constructor(trusted: readonly Network[]) {
    this.#trusted = trusted;
  }

  /**
   * The client's address in its canonical text: the last one in X-Forwarded-For that is not a trusted proxy's.
   * Undefined on a unix socket without a trusted proxy.
   */
  addressOf(context: RequestContext): string | undefined {
    const peer = peerOf(context);
    if (this.#trusted.length === 0) return peer && canonicalOf(peer);
    const address = peer === undefined ? undefined : parseAddress(peer);
    if (!this.#trusts(address)) return address?.toString();
    const hops = context.request.headers.get("x-forwarded-for")?.split(",") ?? [];
    let nearest = address;
    // Read from the end: the client can write anything before the first hop that a trusted proxy did not write.
    for (const hop of hops.toReversed()) {
      const hopAddress = addressIn(hop);
      if (hopAddress === undefined) break;
      nearest = hopAddress;
      if (!this.#trusts(hopAddress)) break;
    }
    return nearest?.toString();
  }

  targetOf(context: RequestContext): Target {
    const { request, url } = context;
    const own = { host: url.host, isSecure: url.protocol === "https:" };
    if (this.#trusted.length === 0) return own;
    const peer = peerOf(context);
    if (!this.#trusts(peer === undefined ? undefined : parseAddress(peer))) return own;
    return {
      host: forwardedHost(request) ?? own.host,
      isSecure: own.isSecure || firstOf(request, "x-forwarded-proto") === "https",
    };
  }

  #trusts(address: Address | undefined): boolean {
    if (address === undefined) return true; // A unix socket: only proxies on this machine reach it.
    return this.#trusted.some((network) => network.includes(address));
  }
}

/** The address that the connection comes from; undefined on a unix socket. */
function peerOf({ request, server }: RequestContext): string | undefined {
  return server.requestIP(request)?.address;
}

/** Bun writes an IPv4 address in its canonical text. To parse it costs more than all other steps of a handshake. */
const canonicalOf = (peer: string): string | undefined =>
  peer.includes(":") ? parseAddress(peer)?.toString() : peer;

/** Some proxies write the port, too: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
function addressIn(hop: string): Address | undefined {
  const text = hop.trim();
  return parseAddress(/^\[(.+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text);
}

/** @throws {Refusal} for one that is no host: URLs are made of it */
function forwardedHost(request: Request): string | undefined {
  const host = firstOf(request, "x-forwarded-host");
  if (host === undefined || (/^[^\s/?#@\\]+$/.test(host) && URL.canParse(`http://${host}/`))) return host;
  throw malformed("The header X-Forwarded-Host must be a host name with an optional port.");
}

/** In a chain of proxies the client connected to the one that wrote the header first. */
function firstOf(request: Request, header: string): string | undefined {
  return request.headers.get(header)?.split(",")[0]?.trim();
}
