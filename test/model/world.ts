/**
 * The world of the model: servers, nodes, a topic and a client, without Redis and without time. Everything is immutable except
 * the world itself, so that a copy is cheap.
 */

/** What a server's scripts have written. */
export interface Data {
  readonly fence?: Fence;
  readonly position?: TopicRecord;
  readonly log: readonly Entry[];
}

export interface Fence {
  readonly replid: number;
  readonly generation: number;
  /** The last generation with a possible loss, and when it began. */
  readonly lossy: number;
  readonly lossyTime: number;
  readonly run: number;
  /** The most replicas that were seen at once. */
  readonly replicas: number;
  /** The histories before this one, the newest first, and how far this one has them. */
  readonly links: readonly Link[];
}

/** `offset` is undefined where no offset says how far. */
export interface Link {
  readonly replid: number;
  readonly offset?: number;
}

export interface TopicRecord {
  readonly epoch: number;
  readonly last: number;
  readonly generation: number;
  readonly forks: readonly Id[];
  readonly holes: readonly (readonly [from: number, to: number])[];
}

export interface Id {
  readonly epoch: number;
  readonly offset: number;
}

export interface Entry {
  readonly offset: number;
  readonly previous: number;
  readonly message: number;
}

export interface Server {
  readonly role: "primary" | "replica" | "down";
  readonly replid: number;
  /** Zero for none. */
  readonly replid2: number;
  /** How far the history `replid2` is in this one. */
  readonly secondOffset: number;
  readonly run: number;
  /** Without one the offset stands still, as in Redis before the first replica. */
  readonly hasBacklog: boolean;
  /** The offset of the first of `versions`. Each write of a script is one step of the offset. */
  readonly base: number;
  /** What was written, after each step, since the server was started; the last is current. */
  readonly versions: readonly Data[];
}

export interface Node {
  /** Where its commands and announcements lead; -1 while there is no connection. */
  readonly server: number;
  readonly ears: number;
  /** Whether the topic is announced to it. */
  readonly isSubscribed: boolean;
  /** The newest fence that it has seen. */
  readonly seen?: { readonly generation: number; readonly replid: number };
  /** The generation of the server to which it has testified. */
  readonly testified: number;
  readonly claims: readonly Claim[];
  readonly acknowledged?: Known;
  readonly heard?: Known;
  /** What it knew before an announcement that does not follow it. */
  readonly unverified: readonly Known[];
  /** Appended, and not yet acknowledged. */
  readonly pending?: { readonly message: number; readonly claim: Claim } | undefined;
}

/** How far the history of a server must be for an append to be in it. */
export interface Claim {
  readonly replid: number;
  readonly offset: number;
  readonly generation: number;
  readonly time: number;
}

export interface Known extends Id {
  readonly time: number;
}

export interface Message extends Id {
  readonly isAcknowledged: boolean;
  readonly generation: number;
  readonly replid: number;
  /** Nodes that live and were answered, that were announced to, and that have used a server that had it: bits. */
  readonly ackers: number;
  readonly hearers: number;
  readonly witnesses: number;
}

/** A client that comes, reads and leaves, at any node and at any moment. Sets of messages are bits. */
export interface Client extends Id {
  readonly had: number;
  /** Acknowledged, and covered by a gap after that. */
  readonly covered: number;
  /** Announced before the last gap. */
  readonly warned: number;
  /** False until its first visit. */
  readonly isFollowing: boolean;
}

export interface World {
  servers: Server[];
  nodes: Node[];
  messages: Message[];
  client: Client;
  /** Where the address leads. */
  address: number;
  /** A third server, which is not looked at, has taken the place of the replica, and acknowledges. */
  isReplaced: boolean;
  /** Takeovers with a possible loss so far: the only events that are compared with the time of others. */
  time: number;
  replids: number;
  epochs: number;
  faults: number;
  /** Whether something has happened after which the documents allow a gap. */
  mayHaveLost: boolean;
}

export const current = (server: Server): Data => server.versions.at(-1) as Data;

export const offsetOf = ({ base, versions }: Server): number => base + versions.length - 1;

export const copyOf = (world: World): World => ({
  ...world,
  servers: world.servers.slice(),
  nodes: world.nodes.slice(),
  messages: world.messages.slice(),
});
