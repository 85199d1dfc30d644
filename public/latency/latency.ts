/** The servers whose round trips are compared, and the clock that pings them all in the same moment. */
import { signal } from "@preact/signals";
import { stored } from "../ground/settings.ts";
import { ownAddress, readAddress } from "../line/target.ts";
import { Probe, ticksMax } from "./probe.ts";

const isListOfText = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");

/** Addresses of other servers. They are not contacted before a person asks for it. */
const others = stored<readonly string[]>("latency.servers", [], isListOfText);

/** More cannot be told apart in a chart. */
const serversMax = 8;

/** Why an address is not added. */
export type AddressFault = "wrong" | "known" | "full";

export class Latency {
  /** Rises with each tick. */
  readonly tick = signal(0);
  /** Seconds since 1970 of the ticks that are kept. */
  readonly times: number[] = [];
  readonly own = new Probe(ownAddress);
  readonly probes = signal<readonly Probe[]>([
    this.own,
    ...others.peek().flatMap((address) => {
      const url = readAddress(address);
      return url ? [new Probe(url)] : [];
    }),
  ]);
  /** Whether the other servers are pinged. This one always is. */
  readonly isMeasuring = signal(false);

  start(): void {
    this.own.start();
    setInterval(() => this.#ping(), 1000);
  }

  /** @param address of a server's line, or of its page */
  add(address: string): AddressFault | undefined {
    const url = address.trim() === "" ? undefined : readAddress(address);
    if (!url) return "wrong";
    if (url.pathname === "/") url.pathname = "/ping";
    if (this.probes.peek().some((probe) => probe.url.href === url.href)) return "known";
    if (this.probes.peek().length >= serversMax) return "full";
    const probe = new Probe(url);
    // As many values as there are ticks, so that all curves have the same times.
    this.probes.value = [...this.probes.peek(), probe];
    this.#store();
    this.measure();
    return undefined;
  }

  remove(probe: Probe): void {
    probe[Symbol.dispose]();
    this.probes.value = this.probes.peek().filter((other) => other !== probe);
    this.#store();
  }

  measure(): void {
    this.isMeasuring.value = true;
    for (const probe of this.probes.peek()) if (probe.state.peek().name === "closed") probe.start();
  }

  pause(): void {
    this.isMeasuring.value = false;
    for (const probe of this.probes.peek()) if (probe !== this.own) probe.stop();
  }

  #ping(): void {
    const tick = this.tick.peek() + 1;
    this.times.push(Date.now() / 1000);
    if (this.times.length > ticksMax) this.times.shift();
    for (const probe of this.probes.peek()) probe.ping(tick);
    this.tick.value = tick;
  }

  #store(): void {
    others.value = this.probes.peek().flatMap(({ url }) => (url.href === ownAddress.href ? [] : [url.href]));
  }
}
