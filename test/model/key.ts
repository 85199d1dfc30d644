/**
 * A number that is the same for two worlds only if nothing that can still happen tells them apart. Replids, epochs, generations and
 * offsets are replaced by their rank among those that still matter, nodes and messages lose their numbers, and what no server,
 * node or client can meet any more is left out. `bun run model --audit` holds it: what follows after two such worlds is compared.
 */
import { beginning, type Course } from "./actions.ts";
import { Alive } from "./alive.ts";
import { Script } from "./scripts.ts";
import {
  type Claim,
  copyOf,
  current,
  type Data,
  type Known,
  type Message,
  type Node,
  offsetOf,
  type Server,
  type TopicRecord,
  type World,
} from "./world.ts";

/** Values are compared with values of the same kind only. */
const kinds = ["plain", "replid", "epoch", "generation", "id", "replication"] as const;
type Kind = (typeof kinds)[number];
const numberOf = Object.fromEntries(kinds.map((kind, number) => [kind, number])) as Record<Kind, number>;

/** More than any offset of replication, and any distance of ids. */
const historyLength = 2 ** 20;

/** More than the values of any world. */
const valuesMax = 2 ** 14;

export class Keys {
  readonly #course: Course;
  readonly #values = new Int32Array(valuesMax);
  readonly #kinds = new Uint8Array(valuesMax);
  readonly #ordered = new Int32Array(valuesMax);
  #length = 0;
  /** The values of each kind that occur, in order, and what each counts as. */
  readonly #sorted: number[][] = kinds.map(() => []);
  readonly #ranks: number[][] = kinds.map(() => []);
  /**
   * Neighbours of a kind that are further apart count as so far apart. What is written next is one more than one that is there, so
   * that the distance matters only where so many steps are left.
   */
  readonly #distancesMax = [0, 1, 1, 8, 8, 2];
  #alive: Alive;

  constructor(course: Course) {
    this.#course = course;
    this.#alive = new Alive(beginning(course), course);
  }

  of(world: World): bigint {
    this.#length = 0;
    this.#alive = new Alive(world, this.#course);
    const { client, mayHaveLost, isReplaced, faults, messages, nodes, servers } = world;
    this.#distancesMax[numberOf.id] = this.#course.messagesMax - messages.length + 1;
    this.#plain(faults);
    this.#plain(messages.length);
    this.#plain(Number(mayHaveLost) + 2 * Number(isReplaced) + 4 * Number(client.isFollowing));
    for (const number of this.#alive.servers) this.#server(servers[number] as Server, number);
    this.#put("epoch", client.epoch);
    this.#put("id", client.offset);
    this.#messages(world);
    const begins = [this.#length];
    for (let number = 0; number < nodes.length; number++) {
      this.#node(world, nodes[number] as Node, number);
      begins.push(this.#length);
    }
    this.#rank();
    return this.#hash(begins);
  }

  #plain(value: number): void {
    this.#kinds[this.#length] = 0;
    this.#values[this.#length++] = value;
  }

  #put(kind: Kind, value: number): void {
    this.#kinds[this.#length] = numberOf[kind];
    this.#values[this.#length++] = value;
  }

  /** An offset of replication, which is compared only with those of the same history. */
  #reached(replid: number, offset: number): void {
    if (this.#alive.mayFail) this.#put("replication", replid * historyLength + offset);
    else this.#plain(this.#alive.linksBelow(replid, offset));
  }

  #server(server: Server, number: number): void {
    const versions = this.#alive.versionsOf(number);
    const isReplica = server.role === "replica";
    // Replicas that can be promoted no more only acknowledge.
    const isFollower = isReplica && (this.#alive.mayFail || this.#course.setting.isLossless);
    this.#plain(versions.length * 2 + (isFollower ? 1 : 0));
    if (versions.length > 0 || isFollower) this.#put("replid", server.replid);
    if (versions.length === 0) return;
    const isNoticed = isReplica || current(server).fence?.replid === server.replid;
    // What the next script reads that notices a takeover, or that the server has renamed itself.
    if (!isNoticed) {
      this.#put("replid", server.replid2);
      if (server.replid2 !== 0) this.#reached(server.replid2, server.secondOffset);
    }
    const isRenaming = !isReplica && (isNoticed ? !server.hasBacklog : server.replid2 === 0);
    this.#plain(
      (server.hasBacklog ? 1 : 0) + (isRenaming && current(server).fence?.run === server.run ? 2 : 0),
    );
    if (server.hasBacklog) this.#reached(server.replid, offsetOf(server));
    for (const data of versions) this.#data(data);
  }

  #data({ fence, position, log }: Data): void {
    const alive = this.#alive;
    this.#plain((fence ? 1 : 0) + (position ? 2 : 0) + 4 * log.length);
    if (fence) {
      this.#put("replid", fence.replid);
      this.#put("generation", fence.generation);
      if (!alive.knowsTimes) this.#put("generation", fence.lossy);
      this.#plain(alive.timeOf(fence.lossyTime) * 2 + (fence.replicas > 0 ? 1 : 0));
      for (const { replid, offset } of fence.links) {
        if (!alive.claimed.includes(replid)) continue;
        this.#put("replid", replid);
        if (offset === undefined) this.#plain(-1);
        else this.#reached(replid, offset);
      }
    }
    if (position) this.#position(position, fence?.lossy ?? 0, fence?.generation ?? 0);
    for (const { offset, previous, message } of log) {
      this.#put("id", offset);
      this.#put("id", previous);
      this.#plain(alive.messages.indexOf(message));
    }
  }

  #position({ epoch, last, generation, forks, holes }: TopicRecord, lossy: number, now: number): void {
    this.#put("epoch", epoch);
    this.#put("id", last);
    this.#plain(generation < lossy ? 0 : generation === now ? 1 : 2);
    for (const fork of forks) {
      if (!this.#alive.named.includes(fork.epoch)) continue;
      this.#put("epoch", fork.epoch);
      this.#put("id", fork.offset);
    }
    this.#plain(-1);
    if (generation < lossy || this.#alive.isLast) return; // The next epoch forgets the holes.
    for (const [from, to] of holes) {
      this.#put("id", from);
      this.#put("id", to);
    }
  }

  #messages({ messages, client }: World): void {
    const alive = this.#alive;
    const mustBeKept = this.#course.setting.isLossless && alive.mayFail && !alive.mayHaveLost;
    for (const index of alive.messages) {
      const { epoch, offset, isAcknowledged, generation, replid } = messages[index] as Message;
      const bit = 1 << index;
      const isOwed = alive.isOwed(index);
      const isOpen = alive.canMeet(index, epoch, offset);
      this.#plain(
        (client.had & bit ? 1 : 0) +
          (isOwed ? 2 : 0) +
          (isOpen ? 4 : 0) +
          (isAcknowledged && (mustBeKept || isOwed) ? 8 : 0) +
          (isOwed && client.warned & bit ? 16 : 0),
      );
      if (isOpen) {
        this.#put("epoch", epoch);
        this.#put("id", offset);
      }
      if (!isOwed || client.warned & bit) continue;
      const isNewer = alive.isNewer({ generation, replid });
      this.#plain(isNewer ? 1 : 0);
      if (!isNewer) continue;
      this.#put("generation", generation);
      this.#put("replid", replid);
    }
    const isMissing = ({ isAcknowledged }: Message, index: number): boolean =>
      isAcknowledged && !alive.messages.includes(index);
    this.#plain((alive.hasLost(client.had) ? 1 : 0) + (mustBeKept && messages.some(isMissing) ? 2 : 0));
  }

  #node(world: World, connected: Node, number: number): void {
    const alive = this.#alive;
    const { isLossless } = this.#course.setting;
    const place = alive.leadsTo(connected.server);
    const node = place === -1 ? { ...connected, server: -1, pending: undefined } : connected;
    const { server, ears, seen, testified, pending } = node;
    this.#plain(place);
    if (!isLossless) this.#plain(alive.leadsTo(ears) * 2 + (node.isSubscribed ? 1 : 0));
    this.#plain(seen ? 1 : 0);
    if (seen && (this.#course.isFine || alive.isNewer(seen))) {
      this.#put("generation", seen.generation);
      this.#put("replid", seen.replid);
    }
    const fence = server === -1 ? undefined : current(world.servers[server] as Server).fence;
    if (fence) this.#plain(fence.generation === testified ? 1 : 0);
    if (alive.isLast) this.#plain(hasTestified(world, node) ? 0 : this.#lost(world, node));
    else this.#knowledge(node);
    if (pending) {
      this.#plain(
        alive.messages.indexOf(pending.message) * 2 + (pending.claim.generation < testified ? 1 : 0),
      );
      this.#put("generation", pending.claim.generation);
      if (!alive.isLast) this.#claim(pending.claim);
    }
    for (const index of alive.messages)
      if (alive.isOwed(index)) this.#plain(this.#knows(world, index, 1 << number));
  }

  /** What a node is going to testify. */
  #knowledge({ claims, acknowledged, heard, unverified }: Node): void {
    const alive = this.#alive;
    for (const claim of claims.length > 1 ? claims.toSorted((a, b) => a.replid - b.replid) : claims)
      if (alive.counts(claim)) {
        this.#claim(claim);
        this.#plain(alive.timeOf(claim.time));
      }
    this.#plain(-1);
    if (acknowledged && (alive.counts(acknowledged) || alive.open.includes(acknowledged.epoch)))
      this.#known(acknowledged);
    this.#plain(-1);
    if (!this.#course.setting.isLossless) {
      if (heard && alive.counts(heard)) this.#known(heard);
      this.#plain(-1);
      for (const known of unverified) if (alive.counts(known)) this.#known(known);
      this.#plain(-1);
    }
  }

  /** Where one server is left and stays what it is: which part of what a node knows is lost there, and is not told yet. */
  #lost(world: World, { seen, claims, acknowledged, heard, unverified, pending }: Node): number {
    const { rules, setting } = this.#course;
    const script = new Script(copyOf(world), world.address, rules, setting, seen);
    script.subscribe(); // What a position has lost that is not current shows when the next epoch begins.
    const { time } = world;
    const isLost = (of: readonly Claim[], known: readonly (Known | undefined)[]): boolean =>
      script.losses(
        of,
        known.filter((id) => id !== undefined),
      ) > 0;
    let bits = isLost(claims, []) ? 1 : 0;
    if (isLost([], [acknowledged])) bits += 2;
    if (pending && isLost([{ ...pending.claim, time }], [])) bits += 4;
    if (pending && isLost([], [{ ...(world.messages[pending.message] as Message), time }])) bits += 8;
    if (setting.isLossless) return bits;
    return bits + (isLost([], [heard]) ? 16 : 0) + (isLost([], unverified) ? 32 : 0);
  }

  /** How well a node knows of a message: all that it knows of it is lost at once. */
  #knows({ messages, client }: World, index: number, bit: number): number {
    const { ackers, hearers, witnesses } = messages[index] as Message;
    if (ackers & bit) return 3;
    if (client.warned & (1 << index)) return 0;
    if (hearers & bit && !this.#course.setting.isLossless) return 2;
    return witnesses & bit ? 1 : 0;
  }

  #claim({ replid, offset, generation }: Claim): void {
    this.#put("replid", replid);
    this.#reached(replid, offset);
    if (!this.#alive.knowsTimes) this.#put("generation", generation);
  }

  #known({ epoch, offset, time }: Known): void {
    this.#put("epoch", epoch);
    this.#put("id", offset);
    this.#plain(this.#alive.timeOf(time));
  }

  #rank(): void {
    const [values, ofKinds, length] = [this.#values, this.#kinds, this.#length];
    for (const sorted of this.#sorted) sorted.length = 0;
    for (let at = 0; at < length; at++) {
      if (ofKinds[at] !== 0) insert(this.#sorted[ofKinds[at] as number] as number[], values[at] as number);
    }
    for (let kind = 1; kind < kinds.length; kind++) {
      const [sorted, ranks] = [this.#sorted[kind] as number[], this.#ranks[kind] as number[]];
      const most = this.#distancesMax[kind] as number;
      let rank = 0;
      for (let index = 0; index < sorted.length; index++) {
        const distance = index === 0 ? 0 : (sorted[index] as number) - (sorted[index - 1] as number);
        rank = distance > historyLength / 2 ? 0 : rank + Math.min(distance, most);
        ranks[index] = rank;
      }
    }
    for (let at = 0; at < length; at++) {
      const kind = ofKinds[at] as number;
      if (kind === 0) continue;
      const sorted = this.#sorted[kind] as number[];
      let index = 0;
      while (sorted[index] !== values[at]) index++;
      values[at] = (this.#ranks[kind] as number[])[index] as number;
    }
  }

  /** @param begins where the values of each node begin, and where they end: nodes are taken in the order of their values */
  #hash(begins: readonly number[]): bigint {
    const [values, ordered] = [this.#values, this.#ordered];
    const nodes = Array.from({ length: begins.length - 1 }, (_, number) => number);
    const lengthOf = (node: number): number => (begins[node + 1] as number) - (begins[node] as number);
    nodes.sort((one, other) => {
      const length = lengthOf(one);
      if (length !== lengthOf(other)) return length - lengthOf(other);
      for (let at = 0; at < length; at++) {
        const [a, b] = [values[(begins[one] as number) + at], values[(begins[other] as number) + at]];
        if (a !== b) return (a as number) - (b as number);
      }
      return 0;
    });
    let at = begins[0] as number;
    ordered.set(values.subarray(0, at));
    for (const node of nodes) {
      ordered[at++] = lengthOf(node);
      ordered.set(values.subarray(begins[node], begins[node + 1]), at);
      at += lengthOf(node);
    }
    return Bun.hash.xxHash64(ordered.subarray(0, at)) as bigint;
  }
}

/** Whether a node has testified to its server as it is, and knows nothing else since then but what that server has. */
function hasTestified({ servers }: World, { server, testified, pending, unverified }: Node): boolean {
  if (server === -1 || pending || unverified.length > 0) return false;
  const { replid } = servers[server] as Server;
  const { fence } = current(servers[server] as Server);
  return fence?.generation === testified && fence.replid === replid;
}

/** Into a list in order, if it is not there. */
function insert(sorted: number[], value: number): void {
  let at = sorted.length;
  while (at > 0 && (sorted[at - 1] as number) > value) at--;
  if (at > 0 && sorted[at - 1] === value) return;
  sorted.push(value);
  for (let index = sorted.length - 1; index > at; index--) sorted[index] = sorted[index - 1] as number;
  sorted[at] = value;
}
