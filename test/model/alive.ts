/** What can still matter of a world: what servers, nodes and clients can come to meet. */
import type { Course } from "./actions.ts";
import {
  current,
  type Data,
  type Fence,
  type Known,
  type Message,
  type Node,
  type Server,
  type TopicRecord,
  type World,
} from "./world.ts";

export class Alive {
  /** The numbers of the servers, first where the address leads. */
  readonly servers: readonly number[];
  readonly mayFail: boolean;
  readonly mayHaveLost: boolean;
  /** Whether losses that were told are known by time. */
  readonly knowsTimes: boolean;
  /** Whether one server is left that matters, and nothing fails any more. */
  readonly isLast: boolean;
  /** Epochs in which a message can still be appended. */
  readonly open: number[] = [];
  /** Epochs of which an id is known, or can be given. */
  readonly named: number[] = [];
  /** The replids of histories of which an append is or can be claimed. */
  readonly claimed: number[] = [];
  /** The numbers of messages that can still be delivered, or are owed, or whose id can be given again, in the order of their ids. */
  readonly messages: number[] = [];
  readonly #versions: (readonly Data[])[];
  readonly #lossyTimes: number[] = [];
  readonly #fences: Fence[] = [];
  readonly #positions: TopicRecord[] = [];
  /** Pairs of a replid and an offset up to which another server has it. */
  readonly #links: number[] = [];
  #owed = 0;
  #logged = 0;
  #pending = 0;

  constructor(world: World, { rules, setting, faultsMax }: Course) {
    this.mayFail = world.faults < faultsMax;
    this.mayHaveLost = world.mayHaveLost;
    this.knowsTimes = rules.acrossEpochs;
    const { address, servers, nodes } = world;
    this.servers = [address, ...servers.keys().filter((number) => number !== address)];
    this.#versions = servers.map((server, number) => this.#versionsAlive(world, server, number));
    for (const [number, server] of servers.entries()) this.#addServer(server, this.versionsOf(number));
    const used = this.#versions.filter((versions) => versions.length > 0);
    this.isLast = !this.mayFail && used.length === 1 && Object.values(rules).every(Boolean);
    for (const { server, pending } of nodes)
      if (pending && this.leadsTo(server) !== -1) this.#addPending(world, pending);
    add(this.named, world.client.epoch);
    if (this.isLast) {
      this.claimed.length = 0; // What a node has to testify is decided, and only the client still asks for an epoch.
    } else {
      for (const node of nodes) this.#addKnowledge(node, setting.isLossless);
      for (const epoch of this.open) add(this.named, epoch);
    }
    this.#addMessages(world);
  }

  /** @returns the place of a server, -1 for one that serves nobody any more: what leads there opens another connection first */
  leadsTo(server: number): number {
    return server === -1 || this.versionsOf(server).length === 0 ? -1 : this.servers.indexOf(server);
  }

  versionsOf(server: number): readonly Data[] {
    return this.#versions[server] as readonly Data[];
  }

  isOwed(message: number): boolean {
    return (this.#owed & (1 << message)) !== 0;
  }

  /** Whether a fence that a server can come to have is older than one that was seen. */
  isNewer(seen: { readonly generation: number; readonly replid: number }): boolean {
    return this.#fences.some(
      ({ generation, replid }) =>
        generation < seen.generation || (generation === seen.generation && replid !== seen.replid),
    );
  }

  /** Whether an id is compared with others: it can be given again, or is one that a node is going to know. */
  canMeet(message: number, epoch: number, offset: number): boolean {
    if (!this.isLast && this.#pending & (1 << message)) return true;
    return this.#positions.some((position) => position.epoch === epoch && position.last < offset);
  }

  /** Whether a client was given what no server has any more. */
  hasLost(had: number): boolean {
    return (had & ~this.#logged) !== 0;
  }

  /** How many losses were told until then, of those that a server still knows as its last. */
  timeOf(time: number): number {
    if (!this.knowsTimes) return 0;
    let told = 0;
    for (const lossyTime of this.#lossyTimes) if (lossyTime <= time) told++;
    return told;
  }

  /** Whether what is known since then can still be a loss that was not told. */
  counts({ time }: { readonly time: number }): boolean {
    return !this.knowsTimes || this.timeOf(time) > 0;
  }

  /** How many links of a history, or promotions that are going to be one, do not reach an offset. */
  linksBelow(replid: number, offset: number): number {
    let below = 0;
    for (let at = 0; at < this.#links.length; at += 2)
      if (this.#links[at] === replid && (this.#links[at + 1] as number) < offset) below++;
    return below;
  }

  #addServer({ replid, replid2, secondOffset }: Server, versions: readonly Data[]): void {
    if (versions.length === 0) return;
    add(this.claimed, replid);
    if (replid2 !== 0) this.#links.push(replid2, secondOffset);
    for (const { fence, position, log } of versions) {
      if (fence) this.#addFence(fence);
      if (position) {
        add(this.open, position.epoch);
        this.#positions.push(position);
      }
      for (const { message } of log) this.#logged |= 1 << message;
    }
  }

  #addFence(fence: Fence): void {
    this.#fences.push(fence);
    add(this.#lossyTimes, fence.lossyTime);
    for (const { replid, offset } of fence.links) if (offset !== undefined) this.#links.push(replid, offset);
  }

  #addPending({ messages }: World, { message, claim }: NonNullable<Node["pending"]>): void {
    this.#pending |= 1 << message;
    this.#owed |= 1 << message;
    add(this.open, (messages[message] as Message).epoch);
    add(this.claimed, claim.replid);
  }

  #addKnowledge({ claims, acknowledged, heard, unverified }: Node, isLossless: boolean): void {
    for (const claim of claims) if (this.counts(claim)) add(this.claimed, claim.replid);
    this.#name(acknowledged);
    if (isLossless) return;
    this.#name(heard);
    for (const known of unverified) this.#name(known);
  }

  #addMessages({ messages, client }: World): void {
    for (const [index, { isAcknowledged, epoch }] of messages.entries()) {
      const bit = 1 << index;
      if (isAcknowledged) this.#owed |= bit;
      if ((client.had | client.covered) & bit) this.#owed &= ~bit;
      if ((this.#owed | this.#logged) & bit || this.open.includes(epoch)) this.messages.push(index);
    }
    this.messages.sort((a, b) => {
      const [one, other] = [messages[a] as Message, messages[b] as Message];
      return one.epoch - other.epoch || one.offset - other.offset;
    });
  }

  #name(known: Known | undefined): void {
    if (known && this.counts(known)) add(this.named, known.epoch);
  }

  /** A server that is down comes back as an empty replica; one that is left by everyone, too, when nothing fails any more. */
  #versionsAlive({ address, nodes }: World, server: Server, number: number): readonly Data[] {
    if (server.role === "down") return [];
    if (this.mayFail) return server.versions;
    const isUsed = number === address || nodes.some((node) => node.server === number);
    return isUsed && server.role === "primary" ? [current(server)] : [];
  }
}

function add(list: number[], value: number): void {
  if (!list.includes(value)) list.push(value);
}
