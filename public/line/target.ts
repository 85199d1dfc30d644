/** The address that the line panel connects to, as typed. */
import { asSocketUrl, nextToPage } from "../ground/address.ts";
import { isText, stored } from "../ground/settings.ts";

/** The echo line of this page's server. */
export const ownAddress = asSocketUrl(nextToPage("ping"));

/** Empty for the echo line of this server. */
export const addressText = stored("line.address", "", isText);
export const protocolsText = stored("line.protocols", "", isText);

/** @returns undefined for an address that no WebSocket can have */
export function readAddress(text: string): URL | undefined {
  const trimmed = text.trim();
  if (trimmed === "") return ownAddress;
  // Some browsers take a space for a part of a host's name.
  if (/\s/.test(trimmed)) return undefined;
  const url = URL.parse(/^[a-z]+:\/\//i.test(trimmed) ? trimmed : `wss://${trimmed}`);
  if (url === null || !/^(ws|http)s?:$/.test(url.protocol)) return undefined;
  url.hash = "";
  // A page over HTTPS may open no other line, and the address of a page is mostly copied without its s.
  if (location.protocol === "https:" && url.protocol === "http:") url.protocol = "https:";
  return url.protocol.startsWith("http") ? asSocketUrl(url) : url;
}

export function readProtocols(text: string): readonly string[] {
  return text.split(/[\s,]+/).filter((protocol) => protocol !== "");
}
