/** Internet addresses and networks, in text. */
import type { IPv4, IPv6 } from "ipaddr.js";

export type Address = IPv4 | IPv6;

/** Loaded when the first address is read. Few servers read one at start, and loading takes 2 ms and 2 MiB. */
const library = (): typeof import("ipaddr.js") => require("ipaddr.js");

/**
 * Reads an address. An IPv4 address in IPv6 notation (`::ffff:192.0.2.1`) becomes the IPv4 address.
 * @returns undefined for other text, and for the shorter and octal forms of IPv4: nobody means 0.0.0.10 by `10`
 */
export function parseAddress(text: string): Address | undefined {
  return isAddress(text) ? library().process(text) : undefined;
}

/** Without `isIP` of node:net, whose import costs 8 ms and 4 MiB at start. */
function isAddress(text: string): boolean {
  const last = text.slice(text.lastIndexOf(":") + 1);
  const { IPv4, IPv6 } = library();
  const endsInDecimals = IPv4.isValidFourPartDecimal(last);
  return text === last ? endsInDecimals : IPv6.isValid(text) && (endsInDecimals || !last.includes("."));
}

/** The addresses that begin with the same bits. */
export class Network {
  readonly #text: string;
  readonly #base: Address;
  readonly #bits: number;

  private constructor(text: string, base: Address, bits: number) {
    this.#text = text;
    this.#base = base;
    this.#bits = bits;
  }

  /** Reads the notation of RFC 4632, such as `10.0.0.0/8`, or a single address. @returns nothing for anything else */
  static parse(text: string): Network | undefined {
    const address = parseAddress(text);
    if (address) return new Network(text, address, address.toByteArray().length * 8);
    if (!isAddress(text.split("/", 1)[0] ?? "") || !library().isValidCIDR(text)) return undefined;
    const [base, bits] = library().parseCIDR(text);
    if (base instanceof library().IPv6 && base.isIPv4MappedAddress() && bits >= mappedPrefixBits)
      return new Network(text, base.toIPv4Address(), bits - mappedPrefixBits);
    return new Network(text, base, bits);
  }

  /** As it was read. */
  toString(): string {
    return this.#text;
  }

  includes(address: Address): boolean {
    return address.kind() === this.#base.kind() && address.match(this.#base, this.#bits);
  }
}

/**
 * What counts as one client: an IPv4 address, or the /64 of an IPv6 address. A provider gives each customer at least a
 * /64 (RFC 6177), so that an address alone is one of 2^64 that the same client can use.
 * @param address in its canonical text
 */
export function clientNetwork(address: string): string {
  if (!address.includes(":")) return address;
  const parsed = parseAddress(address);
  if (!(parsed instanceof library().IPv6)) return address;
  return `${new (library().IPv6)([...parsed.parts.slice(0, 4), 0, 0, 0, 0])}/64`;
}

/** `::ffff:0:0/96`, the IPv6 addresses that stand for IPv4 addresses (RFC 4291 section 2.5.5.2). */
const mappedPrefixBits = 96;
