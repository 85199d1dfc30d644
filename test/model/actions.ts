/** What can happen in the world, and what must hold after it. */
import { type Rules, type Run, Script, type Setting } from "./scripts.ts";
import {
  type Claim,
  type Client,
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

/** The rules do not keep what is promised. */
export class Violation extends Error {}

export interface Course {
  readonly rules: Rules;
  readonly setting: Setting;
  readonly messagesMax: number;
  readonly faultsMax: number;
  /**
   * Whether each small step is one of its own: the answer to an append, a node that notices a takeover, announcements that come
   * before the connection for commands, and a client that returns more than once. Too many states for large sizes.
   */
  readonly isFine: boolean;
  /** The faults that may happen; all if left out. */
  readonly faults?: readonly string[];
  /** Is given each script that runs. */
  readonly ran?: (run: Run) => void;
}

/** An action by its name and numbers, such as `["append", 0]`. */
export type Action = readonly [name: string, ...numbers: readonly number[]];

const empty: Data = { log: [] };

export function beginning(course: Course, servers = 2, nodes = 2): World {
  const { setting } = course;
  const server = (number: number, rest: Partial<Server>): Server => ({
    role: "down",
    replid: 1,
    replid2: 0,
    secondOffset: 0,
    run: number + 1,
    hasBacklog: setting.isPair,
    base: 0,
    versions: [empty],
    ...rest,
  });
  const world: World = {
    servers: Array.from({ length: servers }, (_, number) =>
      server(number, { role: number === 0 ? "primary" : setting.isPair ? "replica" : "down" }),
    ),
    nodes: Array.from({ length: nodes }, () => freshNode),
    messages: [],
    client: { epoch: 1, offset: 0, had: 0, covered: 0, warned: 0, isFollowing: false },
    address: 0,
    isReplaced: false,
    time: 0,
    replids: 1,
    epochs: 0,
    faults: 0,
    mayHaveLost: false,
  };
  // The topic begins, and the servers that follow have it.
  for (const number of world.nodes.keys()) connect(world, number, course);
  onServer(world, 0, course, (script) => script.subscribe());
  const first = world.servers[0] as Server;
  for (const [number, { role }] of world.servers.entries()) {
    const versions = [current(first)];
    const base = setting.isPair ? offsetOf(first) : 0;
    if (role !== "down") update(world.servers, number, { versions, base });
  }
  return world;
}

const freshNode: Node = {
  ...{ server: -1, ears: -1, isSubscribed: false, testified: 0, claims: [], unverified: [] },
};

type Of = Pick<Course, "rules" | "setting" | "ran">;

function update<Item>(list: Item[], number: number, change: Partial<Item>): void {
  list[number] = { ...(list[number] as Item), ...change };
}

const isPrimary = (world: World, number: number): boolean => world.servers[number]?.role === "primary";

/** Every action that is possible. */
export function* actionsOf(world: World, course: Course): Generator<Action> {
  const { setting, messagesMax } = course;
  for (const [number, node] of world.nodes.entries()) {
    if (isPrimary(world, node.server)) {
      if (!node.pending && world.messages.length < messagesMax && mayAppend(world, node.server, setting))
        yield ["append", number];
      if (node.pending && mayAppend(world, node.server, setting)) yield ["acknowledge", number];
      if (isBehind(world, node) && course.isFine) yield ["beat", number];
      if (course.isFine || !world.client.isFollowing) yield ["visit", number];
    }
    if (!isPrimary(world, world.address) || node.server === world.address) continue;
    if (
      node.server === -1 &&
      node.isSubscribed &&
      node.ears !== world.address &&
      (course.isFine || !setting.isPair)
    )
      yield ["listen", number];
    if (course.isFine) yield ["connect", number];
    else {
      if (world.messages.length < messagesMax && mayAppend(world, world.address, setting))
        yield ["append", number, 1];
      if (!world.client.isFollowing) yield ["visit", number, 1];
    }
  }
  const primary = world.servers[world.address] as Server;
  for (const [number, server] of world.servers.entries()) {
    const isFollowing = server.role === "replica" && server.replid === primary.replid;
    if (number !== world.address && !isFollowing && setting.isPair && primary.role === "primary")
      yield ["follow", number];
  }
  if (world.faults < course.faultsMax)
    for (const action of faultsOf(world, course))
      if (!course.faults || course.faults.includes(action[0])) yield action;
}

function* faultsOf(world: World, { setting }: Course): Generator<Action> {
  for (const [number, { seen }] of world.nodes.entries()) if (seen) yield ["restartNode", number];
  for (const [number, server] of world.servers.entries()) {
    if (server.role === "primary") {
      for (let lost = 0; lost < server.versions.length; lost++) yield ["restart", number, lost];
      if (number !== world.address) yield ["lead", number];
      if (!setting.isPair && !server.hasBacklog) yield ["attach", number];
    }
    if (server.role === "replica") {
      for (let lag = 0; lag <= lagOf(world, number); lag++) {
        yield ["promote", number, lag];
        if (isPrimary(world, world.address)) yield ["split", number, lag];
      }
      if (setting.isLossless && !world.isReplaced) yield ["replace", number];
    }
  }
}

const mayAppend = (world: World, number: number, { isLossless }: Setting): boolean =>
  !isLossless || world.isReplaced || replicaOf(world, number) !== undefined;

const replicaOf = ({ servers }: World, number: number): Server | undefined =>
  servers.find(({ role, replid }) => role === "replica" && replid === servers[number]?.replid);

/** How many steps a replica may lack of its primary. */
function lagOf(world: World, number: number): number {
  const replica = world.servers[number] as Server;
  if (world.isReplaced) return 0;
  const primary = primaryOf(world, replica);
  return primary ? offsetOf(primary) - offsetOf(replica) : 0;
}

const primaryOf = ({ servers }: World, replica: Server): Server | undefined =>
  servers.find(({ role, replid }) => role === "primary" && replid === replica.replid);

/** The server was taken over since the node testified. */
function isBehind(world: World, { server: number, testified, seen }: Node): boolean {
  const server = world.servers[number] as Server;
  const { fence } = current(server);
  return fence?.generation !== testified || fence.replid !== server.replid || seen?.replid !== server.replid;
}

/** @returns the world after it. @throws {Violation} */
export function after(world: World, [name, number = 0, count = 0]: Action, course: Course): World {
  const next = copyOf(world);
  const act = (acts as Record<string, Act>)[name] as Act;
  if (count === 1 && (name === "append" || name === "visit")) connect(next, number, course);
  act(next, number, course, count);
  if (course.isFine || (name !== "append" && name !== "visit")) return next;
  if (name === "append" && !course.setting.isLossless) acknowledge(next, number, course);
  if (isBehind(next, next.nodes[number] as Node)) testify(next, number, course);
  return next;
}

type Act = (world: World, number: number, of: Of, count: number) => void;

const acts = {
  append,
  acknowledge,
  beat: testify,
  visit,
  listen: (world, number) => update(world.nodes, number, { ears: world.address }),
  connect,
  follow,
  restartNode: (world, number) => {
    world.faults++;
    update(world.nodes, number, freshNode);
    world.nodes[number] = freshNode;
    const others = ~(1 << number);
    world.messages = world.messages.map((message) => ({
      ...message,
      ackers: message.ackers & others,
      hearers: message.hearers & others,
      witnesses: message.witnesses & others,
    }));
  },
  restart,
  attach: (world, number) => {
    world.faults++;
    const server = world.servers[number] as Server;
    const base = 1 - server.versions.length;
    update(world.servers, number, { hasBacklog: true, replid: ++world.replids, base });
    world.isReplaced = true;
  },
  lead: (world, number) => {
    world.faults++;
    world.mayHaveLost = true;
    world.address = number;
  },
  promote: (world, number, of, lag) => {
    const old = world.address;
    promote(world, number, of, lag);
    if (old !== number && isPrimary(world, old)) {
      update(world.servers, old, { role: "down" });
      dropFrom(world, old);
    }
  },
  split: (world, number, of, lag) => {
    world.mayHaveLost = true;
    promote(world, number, of, lag);
  },
  replace: (world) => {
    world.faults++;
    world.isReplaced = true;
  },
} satisfies Record<string, Act>;

function onServer<Result>(
  world: World,
  number: number,
  { rules, setting, ran }: Of,
  act: (script: Script) => Result,
  node?: Node,
): Result {
  const script = new Script(world, number, rules, setting, node?.seen);
  const result = act(script);
  script.done(ran);
  return result;
}

/** Runs a script of a node at its server. */
function onNode<Result>(world: World, number: number, of: Of, act: (script: Script) => Result): Result {
  const node = world.nodes[number] as Node;
  return onServer(
    world,
    node.server,
    of,
    (script) => {
      const result = act(script);
      const { generation } = script.fence;
      const { replid } = script.server;
      update(world.nodes, number, { seen: { generation, replid } });
      for (const { message } of script.log) {
        const { witnesses } = world.messages[message] ?? { witnesses: -1 };
        if (!(witnesses & (1 << number)))
          update(world.messages, message, { witnesses: witnesses | (1 << number) });
      }
      return result;
    },
    node,
  );
}

function append(world: World, number: number, of: Of): void {
  const message = world.messages.length;
  const place = onNode(world, number, of, (script) => {
    const claim: Claim = {
      replid: script.server.replid,
      offset: script.offset + 1,
      generation: script.fence.generation,
      time: world.time,
    };
    return { ...script.append(message), claim };
  });
  const { id, previous, claim } = place;
  for (const other of world.messages)
    if (other.epoch === id.epoch && other.offset === id.offset)
      throw new Violation(`${id.epoch}-${id.offset} is the id of two messages`);
  update(world.nodes, number, { pending: { message, claim } });
  const node = world.nodes[number] as Node;
  let hearers = 0;
  for (const [listener, { ears, isSubscribed }] of world.nodes.entries()) {
    if (ears !== node.server || !isSubscribed) continue;
    hearers |= 1 << listener;
    hear(world, listener, { ...id, time: world.time }, previous, of.rules);
  }
  world.messages.push({
    ...id,
    isAcknowledged: false,
    generation: claim.generation,
    replid: claim.replid,
    ackers: 0,
    hearers,
    witnesses: 1 << number,
  });
}

function hear(world: World, number: number, known: Known, previous: number, rules: Rules): void {
  const { heard, unverified } = world.nodes[number] as Node;
  const isNext = !heard || (heard.epoch === known.epoch && heard.offset === previous);
  update(world.nodes, number, {
    heard: known,
    ...(rules.unverified && !isNext && { unverified: [...unverified, heard] }),
  });
}

function acknowledge(world: World, number: number, { setting }: Of): void {
  const { pending, acknowledged, claims, testified } = world.nodes[number] as Node;
  if (!pending) return;
  const { message, claim } = pending;
  if (setting.isLossless && !world.isReplaced) replicate(world, claim);
  const found = world.messages[message] as Message;
  const { time } = world;
  const isLater = acknowledged?.epoch !== found.epoch || acknowledged.offset < found.offset;
  const others = claims.filter(({ replid }) => replid !== claim.replid);
  update(world.nodes, number, {
    pending: undefined,
    claims: [{ ...claim, time }, ...others],
    // The server was taken over between the append and its answer: to be testified, too.
    testified: claim.generation < testified ? -1 : testified,
    ...(isLater && { acknowledged: { epoch: found.epoch, offset: found.offset, time } }),
  });
  update(world.messages, message, { isAcknowledged: true, ackers: found.ackers | (1 << number) });
}

/** The replica has everything up to an append. */
function replicate(world: World, { replid, offset }: Claim): void {
  for (const [number, replica] of world.servers.entries()) {
    const primary = primaryOf(world, replica);
    if (replica.role !== "replica" || replica.replid !== replid || offsetOf(replica) >= offset || !primary)
      continue;
    update(world.servers, number, {
      versions: [primary.versions[offset - primary.base] as Data],
      base: offset,
    });
  }
}

function connect(world: World, number: number, of: Of): void {
  update(world.nodes, number, { server: world.address, ears: world.address, pending: undefined });
  testify(world, number, of);
}

function testify(world: World, number: number, of: Of): void {
  const { claims, acknowledged, heard, unverified } = world.nodes[number] as Node;
  const ids = [acknowledged, ...(of.setting.isLossless ? [] : [heard, ...unverified])];
  const known = ids.filter((id) => id !== undefined);
  const generation = onNode(world, number, of, (script) => {
    script.testify(claims, known);
    return script.fence.generation;
  });
  update(world.nodes, number, { testified: generation, unverified: [] });
}

/** A server that is down, or was primary, becomes a replica of the one to which the address leads. */
function follow(world: World, number: number): void {
  const primary = world.servers[world.address] as Server;
  const isFirst = !primary.hasBacklog;
  if (isFirst) {
    const base = 1 - primary.versions.length;
    update(world.servers, world.address, { hasBacklog: true, replid: ++world.replids, replid2: 0, base });
  }
  const { replid, replid2, secondOffset } = world.servers[world.address] as Server;
  update(world.servers, number, {
    ...{ role: "replica", replid, replid2, secondOffset, hasBacklog: true },
    versions: [current(primary)],
    base: offsetOf(world.servers[world.address] as Server),
  });
  world.isReplaced = false;
}

function restart(world: World, number: number, of: Of, lost: number): void {
  world.faults++;
  const server = world.servers[number] as Server;
  const data = server.versions[server.versions.length - 1 - lost] as Data;
  const isAof = of.setting.persistence === "aof";
  const isPromotion = !isAof && server.hasBacklog;
  const isFollowed = (data.fence?.replicas ?? 0) > 0;
  // A takeover before this one was seen by no script.
  const isUnseen = data.fence?.replid !== server.replid && isPromotion;
  if (lost > 0 || isUnseen || (isAof ? isFollowed : !(isPromotion && of.setting.isLossless)))
    world.mayHaveLost = true;
  const offset = offsetOf(server) - lost;
  world.servers[number] = {
    role: "primary",
    replid: ++world.replids,
    run: 100 + world.replids,
    replid2: isPromotion ? server.replid : 0,
    secondOffset: isPromotion ? offset : 0,
    hasBacklog: isPromotion,
    base: isPromotion ? offset : 0,
    versions: [data],
  };
  dropFrom(world, number);
}

/** Ends the connections to a server; its replica follows no more. */
function dropFrom(world: World, number: number): void {
  for (const [index, node] of world.nodes.entries()) {
    const server = node.server === number ? -1 : node.server;
    const ears = node.ears === number ? -1 : node.ears;
    if (server !== node.server || ears !== node.ears)
      update(world.nodes, index, { server, ears, ...(server === -1 && { pending: undefined }) });
  }
}

function promote(world: World, number: number, { setting }: Of, lag: number): void {
  world.faults++;
  const replica = world.servers[number] as Server;
  const primary = primaryOf(world, replica);
  const hasAll = !world.isReplaced && primary;
  const offset = hasAll ? offsetOf(primary) - lag : offsetOf(replica);
  const data = hasAll ? (primary.versions[offset - primary.base] as Data) : current(replica);
  const server: Server = { ...replica, versions: [data], base: offset };
  const has = new Set(data.log.map(({ message }) => message));
  if (!setting.isLossless || world.messages.some((m, index) => m.isAcknowledged && !has.has(index)))
    world.mayHaveLost = true;
  // It follows no more, or has not heard of the last takeover.
  const old = world.servers[world.address] as Server;
  if (
    world.isReplaced ||
    server.replid !== old.replid ||
    data.fence?.replid !== server.replid ||
    current(old).fence?.generation !== data.fence?.generation
  )
    world.mayHaveLost = true;
  world.servers[number] = {
    ...server,
    ...{ role: "primary", replid: ++world.replids, replid2: server.replid, secondOffset: offset },
  };
  world.address = number;
  world.isReplaced = false;
}

function visit(world: World, number: number, of: Of): void {
  const { client } = world;
  update(world.nodes, number, { isSubscribed: true });
  const { isComplete, from, entries, epoch, log, isKnownPast } = onNode(world, number, of, (script) => {
    script.subscribe();
    const { epoch, forks } = script.position as TopicRecord;
    const isKnownPast = [epoch, ...forks.map((fork) => fork.epoch)].includes(client.epoch);
    return { ...script.read(client), epoch, log: script.log, isKnownPast };
  });
  let { had, covered, warned } = client;
  // One that comes for the first time misses nothing before that.
  // A server that does not know the client's past cannot know what it has.
  if (!isKnownPast) [had, covered] = [0, had | covered];
  if (!isComplete) {
    // What it has of a past that is not this server's is behind the gap, and may come back with that past.
    const shared = log.reduce((bits, { message }) => bits | (1 << message), 0);
    [had, covered] = [had & shared, covered | (had & ~shared)];
    if (!world.mayHaveLost && !hasLost(world, number, client))
      throw new Violation("a gap is told, and nothing can be lost");
    warned = (1 << world.messages.length) - 1;
    world.messages.forEach((message, index) => {
      if (message.isAcknowledged) covered |= 1 << index;
    });
  }
  for (const { message } of entries) {
    if (had & (1 << message)) throw new Violation(`the client is given message ${message} twice`);
    had |= 1 << message;
  }
  world.client = { epoch, offset: entries.at(-1)?.offset ?? from, had, covered, warned, isFollowing: true };
}

/** Whether a client was given what was never acknowledged and is there no more. */
function hasLost(world: World, number: number, { had }: Client): boolean {
  const server = world.servers[(world.nodes[number] as Node).server] as Server;
  const has = new Set(current(server).log.map(({ message }) => message));
  return world.messages.some((_, index) => had & (1 << index) && !has.has(index));
}

/** When the last fault is over and every node has connected, everyone must know. @throws {Violation} */
export function checkSettled(world: World, course: Course): void {
  if (!isPrimary(world, world.address)) return;
  const { had: hadBefore, covered: coveredBefore } = world.client;
  const isOwed = world.messages.some(
    (message, index) => message.isAcknowledged && !((hadBefore | coveredBefore) & (1 << index)),
  );
  const before = current(world.servers[world.address] as Server).fence;
  const order = [...world.nodes.keys()];
  for (const numbers of isOwed ? [order, order.toReversed()] : [order]) {
    const settled = copyOf(world);
    for (const number of numbers)
      if (settled.nodes[number]?.server !== world.address) connect(settled, number, course);
    for (let round = 0; round < 4; round++)
      for (const number of numbers)
        if (isBehind(settled, settled.nodes[number] as Node)) testify(settled, number, course);
    visit(settled, numbers[0] ?? 0, course);
    const { had, covered, warned } = settled.client;
    for (const [index, message] of settled.messages.entries()) {
      if (!message.isAcknowledged || (had | covered) & (1 << index)) continue;
      if (message.ackers > 0 || (!(warned & (1 << index)) && isKnown(message, before, course)))
        throw new Violation(`message ${index} was acknowledged, and is lost in silence`);
    }
  }
}

/** Whether a node lives that knows of a message though it was not answered itself. */
function isKnown(
  { hearers, witnesses, generation, replid }: Message,
  fence: { readonly generation: number; readonly replid: number } | undefined,
  { setting }: Course,
): boolean {
  const isBefore =
    fence !== undefined &&
    (fence.generation < generation || (fence.generation === generation && fence.replid !== replid));
  return (!setting.isLossless && hearers > 0) || (isBefore && witnesses > 0);
}
