/** What the scripts do at a server: the rules of fence, position and testimony, each of which can be left out. */
import {
  type Claim,
  current,
  type Data,
  type Entry,
  type Fence,
  type Id,
  type Known,
  type Link,
  offsetOf,
  type Server,
  type TopicRecord,
  type World,
} from "./world.ts";

export interface Rules {
  /** A promotion is judged by offsets of replication, whenever a node comes. */
  readonly offsets: boolean;
  /** They are judged also in a script that comes after the takeover. */
  readonly late: boolean;
  /** How far a server has the histories before it is kept, for nodes that come when others have appended. */
  readonly links: boolean;
  /** What takeovers skipped is kept with the position. */
  readonly holes: boolean;
  /** Nodes show the newest fence that they have seen. */
  readonly seen: boolean;
  /** The same generation of two servers is told apart. */
  readonly seenReplid: boolean;
  /** A loss counts though the topic is in another epoch, unless it was known before that began. */
  readonly acrossEpochs: boolean;
  /** What a node knew before an announcement that does not follow it is kept until it has testified. */
  readonly unverified: boolean;
  /** A client ahead of the topic gets nothing twice. */
  readonly ahead: boolean;
}

/** The rules of the scripts in src/engine/redis/. */
export const rules: Rules = {
  offsets: true,
  late: true,
  links: true,
  holes: true,
  seen: true,
  seenReplid: true,
  acrossEpochs: true,
  unverified: true,
  ahead: true,
};

/** Nodes of version 0.1 vouch for promotions, and testify only of ids in the topic's epoch. */
export const version01Rules: Rules = {
  offsets: false,
  late: false,
  links: false,
  holes: false,
  seen: false,
  seenReplid: false,
  acrossEpochs: false,
  unverified: false,
  ahead: false,
};

export interface Setting {
  /** With an append-only file, or with snapshots. */
  readonly persistence: "aof" | "snapshot";
  /** The first server has a replica. */
  readonly isPair: boolean;
  /** --redis-lossless-failover, and one replica acknowledges. */
  readonly isLossless: boolean;
}

const linksMax = 8;

/** A step of a script, for a real server to do the same. */
export type Step =
  | { readonly name: "append"; readonly message: number; readonly claimed: number; readonly id: Id }
  | { readonly name: "subscribe"; readonly topic: Id }
  | { readonly name: "read"; readonly since: Id; readonly answer: Answer }
  | {
      readonly name: "testify";
      readonly claims: readonly Claim[];
      readonly ids: readonly Known[];
      readonly generation: number;
      readonly losses: number;
    };

/** A script that ran. */
export interface Run {
  readonly server: number;
  readonly seen: Seen | undefined;
  readonly steps: readonly Step[];
  /** The server after it. */
  readonly after: Server;
}

/** The newest fence that a node has seen. */
export interface Seen {
  readonly generation: number;
  readonly replid: number;
}

interface Answer {
  readonly isComplete: boolean;
  readonly from: number;
  readonly entries: readonly Entry[];
}

/** One script at one server: the fence comes first, and everything is written in one step. */
export class Script {
  fence: Fence;
  position: TopicRecord | undefined;
  log: readonly Entry[];
  readonly #seen: Seen | undefined;
  readonly #steps: Step[] = [];
  #isChanged = false;
  #isTakeover = false;

  constructor(
    readonly world: World,
    readonly number: number,
    readonly rules: Rules,
    readonly setting: Setting,
    seen: Seen | undefined,
  ) {
    this.#seen = seen;
    const { fence, position, log } = current(this.server);
    this.position = position;
    this.log = log;
    this.fence = this.#step(fence, seen);
  }

  get server(): Server {
    return this.world.servers[this.number] as Server;
  }

  get replicas(): number {
    const { servers, isReplaced } = this.world;
    if (isReplaced) return 1;
    return servers.some(({ role, replid }) => role === "replica" && replid === this.server.replid) ? 1 : 0;
  }

  /** What INFO says before the script's writes. */
  get offset(): number {
    return this.server.hasBacklog ? offsetOf(this.server) : 0;
  }

  /** Ends the script. @param ran is given what it did */
  done(ran?: (run: Run) => void): void {
    const { fence, position, log, number } = this;
    if (this.#isChanged) {
      const data: Data = position ? { fence, position, log } : { fence, log };
      this.world.servers[number] = { ...this.server, versions: [...this.server.versions, data] };
    }
    ran?.({ server: number, seen: this.#seen, steps: this.#steps, after: this.server });
  }

  append(message: number): { readonly id: Id; readonly previous: number } {
    this.#isChanged = true;
    const before = this.position;
    let { epoch, last, forks, holes } = before ?? { epoch: 0, last: 0, forks: [], holes: [] };
    const generation = this.fence.generation;
    let offset = last + 1;
    if (!before || before.generation < this.fence.lossy) {
      if (before) forks = this.#forksOf(before);
      epoch = ++this.world.epochs;
      holes = [];
    } else if (before.generation !== generation) {
      offset = 64 + Math.max(last, ...this.world.messages.map((given) => given.offset));
      if (this.rules.holes) holes = [[last, offset], ...holes];
    }
    this.log = [...this.log, { offset, previous: last, message }];
    const previous = last;
    last = offset;
    this.position = { epoch, last, generation, forks, holes };
    const id = { epoch, offset };
    this.#steps.push({ name: "append", message, claimed: this.offset + 1, id });
    return { id, previous };
  }

  /** A topic that is not there, or whose past may be lost, begins anew. */
  subscribe(): void {
    if (!this.position || this.position.generation < this.fence.lossy) this.#beginEpoch(this.position);
    this.#steps.push({ name: "subscribe", topic: idOf(this.position as TopicRecord) });
  }

  #beginEpoch(before: TopicRecord | undefined): void {
    this.#isChanged = true;
    const { generation } = this.fence;
    const epoch = ++this.world.epochs;
    if (!before) this.log = [];
    this.position = before
      ? { epoch, last: before.last, generation, forks: this.#forksOf(before), holes: [] }
      : { epoch, last: 0, generation, forks: [], holes: [] };
  }

  /** Of a past without messages only its end is kept. */
  #forksOf(before: TopicRecord): Id[] {
    return [before, ...(this.log.length > 0 ? before.forks : [])].map(idOf);
  }

  read(since: Id): Answer {
    const answer = this.#answer(since);
    this.#steps.push({ name: "read", since: idOf(since), answer });
    return answer;
  }

  #answer({ epoch, offset }: Id): Answer {
    const { epoch: own, last, forks, generation } = this.position as TopicRecord;
    const fork = forks.find((past) => past.epoch === epoch);
    const shared = epoch === own ? offset : fork && Math.min(offset, fork.offset);
    if (
      shared === undefined ||
      (shared > last && !(this.rules.ahead && generation !== this.fence.generation))
    )
      return { isComplete: false, from: 0, entries: this.log };
    const entries = this.log.filter((entry) => entry.offset > shared);
    const from = entries[0]?.previous ?? last;
    return { isComplete: epoch === own && from === offset, from, entries };
  }

  /** If the node knows of something that this server has lost, and that was not told yet, it is told. */
  testify(claims: readonly Claim[], ids: readonly Known[]): void {
    const losses = this.losses(claims, ids);
    if (losses > 0) this.#takeOver(this.fence.generation + 1, true, this.fence.links);
    this.#steps.push({ name: "testify", claims, ids, generation: this.fence.generation, losses });
  }

  /** How much of that this server has lost, and was not told yet. */
  losses(claims: readonly Claim[], ids: readonly Known[]): number {
    const isInTime = this.rules.late || this.#isTakeover;
    const lostClaims =
      this.rules.offsets && isInTime ? claims.filter((claim) => this.#isClaimLost(claim)) : [];
    return lostClaims.length + ids.filter((id) => this.#isIdLost(id)).length;
  }

  #isClaimLost({ replid, offset, generation, time }: Claim): boolean {
    const { lossy, lossyTime, links } = this.fence;
    if (this.rules.acrossEpochs ? time < lossyTime : generation < lossy) return false;
    if (replid === this.server.replid) return false;
    const link = links.find((past) => past.replid === replid);
    if (!link) return true;
    return link.offset !== undefined && link.offset < offset;
  }

  #isIdLost({ epoch, offset, time }: Known): boolean {
    const { position, fence, rules } = this;
    if (!position || position.generation < fence.lossy) return false;
    if (rules.acrossEpochs && time < fence.lossyTime) return false;
    if (position.epoch === epoch)
      return position.last < offset || position.holes.some(([from, to]) => from < offset && offset < to);
    const fork = position.forks.find((past) => past.epoch === epoch);
    return rules.acrossEpochs && (fork === undefined || fork.offset < offset);
  }

  #step(fence: Fence | undefined, seen: Seen | undefined): Fence {
    const { server, rules } = this;
    if (!fence) return this.#takeOver((seen?.generation ?? 0) + 1, true, []);
    const isOlder =
      rules.seen &&
      seen !== undefined &&
      (seen.generation > fence.generation ||
        (rules.seenReplid && seen.generation === fence.generation && seen.replid !== fence.replid));
    const isSame = fence.replid === server.replid;
    if (isSame && !isOlder) {
      if (this.replicas > fence.replicas) {
        this.#isChanged = true;
        return { ...fence, replicas: this.replicas };
      }
      return fence;
    }
    const isPromoted = server.replid2 !== 0;
    const isRenamed = !isSame && !isPromoted && fence.run === server.run;
    const isReread = !isPromoted && !isRenamed && fence.replicas === 0 && this.setting.persistence === "aof";
    // The one replica that must acknowledge is the most that was ever connected at once.
    const isVouched = isPromoted && this.setting.isLossless;
    const isLossless = !isOlder && (isRenamed || isReread || isVouched);
    let links: readonly Link[] = fence.links;
    if (!isSame && rules.links) {
      const link = isPromoted
        ? { replid: server.replid2, offset: server.secondOffset }
        : { replid: fence.replid };
      links = [link, ...links].slice(0, linksMax);
    } else if (!isSame) {
      links = [];
    }
    this.fence = fence;
    return this.#takeOver(
      Math.max(fence.generation, isOlder ? (seen?.generation ?? 0) : 0) + 1,
      !isLossless,
      links,
      isRenamed,
    );
  }

  #takeOver(generation: number, isLossy: boolean, links: readonly Link[], isRenamed = false): Fence {
    this.#isChanged = true;
    this.#isTakeover = true;
    const { replid, run } = this.server;
    const replicas = Math.max(this.fence?.replicas ?? 0, this.replicas, isRenamed ? 1 : 0);
    if (isLossy) this.world.time++;
    this.fence = {
      replid,
      generation,
      lossy: isLossy ? generation : this.fence.lossy,
      lossyTime: isLossy ? this.world.time : this.fence.lossyTime,
      run,
      replicas,
      links,
    };
    return this.fence;
  }
}

const idOf = ({ epoch, last, offset }: { epoch: number; last?: number; offset?: number }): Id => ({
  epoch,
  offset: offset ?? last ?? 0,
});
