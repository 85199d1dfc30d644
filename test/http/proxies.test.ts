/** The client's address and target behind proxies, and which X-Forwarded-… headers are believed. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Server } from "bun";
import { Proxies } from "../../src/http/proxies.ts";
import { ReceivedRequest } from "../../src/http/received-request.ts";
import { networks } from "../../src/settings/units.ts";

setDefaultTimeout(120_000);

/** @param peer address of the connection; undefined on a unix socket */
function requestFrom(
  peer: string | undefined,
  url: string,
  headers: Record<string, string>,
): ReceivedRequest {
  const server = {
    requestIP: () => (peer === undefined ? null : { address: peer, family: "IPv4", port: 1 }),
  };
  return new ReceivedRequest(new Request(url, { headers }), server as unknown as Server<unknown>);
}

const proxiesOf = (trusted: readonly string[]): Proxies => new Proxies(networks.accept(trusted));

function addressOf(
  trusted: readonly string[],
  peer: string | undefined,
  forwarded?: string,
): string | undefined {
  const headers: Record<string, string> = forwarded === undefined ? {} : { "X-Forwarded-For": forwarded };
  return proxiesOf(trusted).addressOf(requestFrom(peer, "http://own.example/", headers));
}

describe("the host that a client names", () => {
  const hostOf = (forwarded: string): string =>
    proxiesOf(["10.0.0.0/8"]).targetOf(
      requestFrom("10.0.0.1", "http://own.example/", { "X-Forwarded-Host": forwarded }),
    ).host;

  test("is that of X-Forwarded-Host, behind a proxy that is trusted", () => {
    for (const host of ["public.example", "public.example:8443", "[2001:db8::7]:80"])
      expect(hostOf(host)).toBe(host);
  });

  test("is refused in words if it is none, since URLs are made of it", () => {
    for (const host of ["a b", "a/b", "user@a", "a?b", "a:port", "a#b", "a\\b"])
      expect(() => hostOf(host)).toThrow("X-Forwarded-Host");
  });
});

describe("the address of a client", () => {
  test("is that of its connection if no proxy is trusted, whatever the header says", () => {
    expect(addressOf([], "192.0.2.1", "203.0.113.9")).toBe("192.0.2.1");
    expect(addressOf(["10.0.0.0/8"], "192.0.2.1", "203.0.113.9")).toBe("192.0.2.1");
  });

  test("is the one that a trusted proxy saw", () => {
    for (const networks of [
      ["10.0.0.0/8"],
      ["10.1.2.3"],
      ["192.168.0.0/16", "10.1.2.3/32"],
      ["::/0", "10.1.2.3"],
    ])
      expect(addressOf(networks, "10.1.2.3", "203.0.113.9")).toBe("203.0.113.9");
    expect(addressOf(["2001:db8::/32"], "2001:db8::1", "2001:db9::1")).toBe("2001:db9::1");
    expect(addressOf(["127.0.0.1"], "::ffff:127.0.0.1", "203.0.113.9")).toBe("203.0.113.9");
  });

  test("is the last one that is no trusted proxy's, since the client can write those before it", () => {
    expect(addressOf(["10.0.0.0/8"], "10.0.0.1", "198.51.100.66, 203.0.113.9, 10.0.0.2")).toBe("203.0.113.9");
    expect(addressOf(["10.0.0.0/8"], "10.0.0.1", "203.0.113.9,198.51.100.66")).toBe("198.51.100.66");
  });

  test("is the nearest known one if the one before it is no address", () => {
    expect(addressOf(["10.0.0.0/8"], "10.0.0.1", "198.51.100.66, unknown, 10.0.0.2")).toBe("10.0.0.2");
    expect(addressOf(["10.0.0.0/8"], "10.0.0.1", "198.51.100.66, _hidden")).toBe("10.0.0.1");
    for (const nothing of [undefined, "", " , ", "'; --"])
      expect(addressOf(["10.0.0.0/8"], "10.0.0.1", nothing)).toBe("10.0.0.1");
  });

  test("is read with a port after it", () => {
    expect(addressOf(["10.0.0.1"], "10.0.0.1", "198.51.100.66, 203.0.113.9:4711")).toBe("203.0.113.9");
    expect(addressOf(["10.0.0.1"], "10.0.0.1", "[2001:db8::7]:4711")).toBe("2001:db8::7");
    expect(addressOf(["10.0.0.1"], "10.0.0.1", "[2001:db8::7]")).toBe("2001:db8::7");
  });

  test("is in its canonical form, so that one client has one address", () => {
    expect(addressOf(["10.0.0.1"], "10.0.0.1", "2001:DB8:0:0::7")).toBe("2001:db8::7");
    expect(addressOf(["10.0.0.1"], "10.0.0.1", "::ffff:203.0.113.9")).toBe("203.0.113.9");
    expect(addressOf([], "::ffff:203.0.113.9")).toBe("203.0.113.9");
  });

  test("is none of the forms that only some programs read as an address", () => {
    for (const hop of ["203.0.113", "0xcb.0.113.9", "0203.0.113.9", "3405803785"])
      expect(addressOf(["10.0.0.1"], "10.0.0.1", hop)).toBe("10.0.0.1");
  });

  test("is believed from a network of IPv4 addresses in IPv6 notation", () => {
    expect(addressOf(["::ffff:10.0.0.0/104"], "10.1.2.3", "203.0.113.9")).toBe("203.0.113.9");
    expect(addressOf(["::ffff:10.0.0.0/104"], "11.1.2.3", "203.0.113.9")).toBe("11.1.2.3");
  });

  test("is that of the farthest proxy if all are trusted", () => {
    expect(addressOf(["10.0.0.0/8"], "10.0.0.1", "10.0.0.3, 10.0.0.2")).toBe("10.0.0.3");
  });

  test("comes from the header on a unix socket if any proxy is trusted, else it is unknown", () => {
    expect(addressOf(["127.0.0.1"], undefined, "203.0.113.9")).toBe("203.0.113.9");
    expect(addressOf([], undefined, "203.0.113.9")).toBeUndefined();
  });
});

describe("the target of a request", () => {
  const targetOf = (
    trusted: readonly string[],
    headers: Record<string, string>,
    url = "http://own.example:9090/",
  ) => proxiesOf(trusted).targetOf(requestFrom("10.0.0.1", url, headers));
  const forwarded = { "X-Forwarded-Host": "chat.example", "X-Forwarded-Proto": "https" };

  test("is that of the request if no proxy is trusted", () => {
    for (const networks of [[], ["192.0.2.0/24"]])
      expect(targetOf(networks, forwarded)).toEqual({ host: "own.example:9090", isSecure: false });
    expect(targetOf([], {}, "https://own.example/")).toEqual({ host: "own.example", isSecure: true });
  });

  test("has the host and the scheme that a trusted proxy forwards", () => {
    const networks = ["10.0.0.0/8"];
    expect(targetOf(networks, forwarded)).toEqual({ host: "chat.example", isSecure: true });
    expect(targetOf(networks, { "X-Forwarded-Proto": "https" })).toEqual({
      host: "own.example:9090",
      isSecure: true,
    });
    expect(targetOf(networks, { "X-Forwarded-Host": "chat.example" })).toEqual({
      host: "chat.example",
      isSecure: false,
    });
    expect(targetOf(networks, { "X-Forwarded-Host": "chat.example, inner" })).toMatchObject({
      host: "chat.example",
    });
  });
});
