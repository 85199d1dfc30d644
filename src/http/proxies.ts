/** Who is really at the other end, where proxies stand between: what those that are trusted say of it, and nobody else. */
import { BlockList, isIP } from "node:net";
import type { RequestContext } from "./request-context.ts";

export interface Target {
  /** With its port, where that is not the scheme's own. */
  readonly host: string;
  /** True where it is known to have come by TLS; a proxy that is not trusted may have taken that off. */
  readonly isSecure: boolean;
}

export class Proxies {
  readonly #trusted = new BlockList();
  readonly #isUsed: boolean;

  /** @param networks as `10.0.0.0/8`, or single addresses */
  constructor(networks: readonly string[]) {
    this.#isUsed = networks.length > 0;
    for (const network of networks) {
      const [address = "", bits] = network.split("/");
      const family = isIP(address) === 4 ? "ipv4" : "ipv6";
      this.#trusted.addSubnet(
        address,
        bits === undefined ? (family === "ipv4" ? 32 : 128) : Number(bits),
        family,
      );
    }
  }

  /** The client's address: the last one in X-Forwarded-For that no trusted proxy has. Unknown on a unix socket. */
  addressOf({ request, server }: RequestContext): string | undefined {
    const peer = server.requestIP(request)?.address;
    if (!this.#isUsed || !this.#trusts(peer)) return peer;
    const hops = request.headers.get("x-forwarded-for")?.split(",") ?? [];
    let nearest = peer;
    // From the nearest on: what stands before a hop that nobody trusted wrote is whatever the client liked to say.
    for (const hop of hops.toReversed()) {
      const address = addressIn(hop);
      if (address === undefined) return nearest;
      if (!this.#trusts(address)) return address;
      nearest = address;
    }
    return nearest;
  }

  /** What the client asked for. */
  targetOf({ request, url, server }: RequestContext): Target {
    const own = { host: url.host, isSecure: url.protocol === "https:" };
    if (!this.#isUsed || !this.#trusts(server.requestIP(request)?.address)) return own;
    return {
      host: firstOf(request, "x-forwarded-host") ?? own.host,
      isSecure: own.isSecure || firstOf(request, "x-forwarded-proto") === "https",
    };
  }

  #trusts(address: string | undefined): boolean {
    if (address === undefined) return true; // A unix socket: only this machine's own proxies reach it.
    const version4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
    return this.#trusted.check(version4, isIP(version4) === 6 ? "ipv6" : "ipv4");
  }
}

/** Some proxies write the port, too: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
function addressIn(hop: string): string | undefined {
  const text = hop.trim();
  const address = /^\[(.+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  return isIP(address) === 0 ? undefined : address;
}

/** Of a chain of proxies the first to write a header is the one that the client spoke to. */
function firstOf(request: Request, header: string): string | undefined {
  return request.headers.get(header)?.split(",")[0]?.trim();
}
