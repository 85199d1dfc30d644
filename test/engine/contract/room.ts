/** A topic with presence under test: what its nodes say of its members, and what is announced and kept of them. */
import type { Broker, History } from "../../../src/topic/broker.ts";
import { removedType } from "../../../src/topic/key.ts";
import type { Message, Position, Since } from "../../../src/topic/message.ts";
import {
  type MemberGone,
  type MemberHere,
  type Presence,
  type PresenceRegister,
  presenceTopicOf,
  type RefusedMember,
} from "../../../src/topic/presence.ts";
import type { Contract, ContractLimits, Engine } from "./engine.ts";
import { wholeOf } from "./keyed-topic.ts";
import { all, wholePage } from "./messages.ts";
import type { Announcements, Waits } from "./waits.ts";

/** A node, and what it says who is here with. */
export interface RoomNode {
  readonly broker: Broker;
  readonly register: PresenceRegister;
}

/** A new topic with presence. It matches the pattern of `generous`. */
export const newRoom = (): string => `room/${crypto.randomUUID()}`;

interface Shown {
  readonly info?: string;
  readonly issued?: number;
  /** Seconds since 1970. */
  readonly since?: number;
}

export const here = (key: string, { info = "true", issued = 0, since = 0 }: Shown = {}): MemberHere => ({
  ...{ key, isHere: true, sinceTime: since * 1000 },
  ...{ info, issuedSeconds: issued },
});

export const gone = (key: string): MemberGone => ({ key, isHere: false });

export class Room {
  /** The topic that has the members. */
  readonly name: string;
  readonly #waits: Waits;
  readonly #nodes: readonly RoomNode[];
  readonly #announced: Announcements;

  private constructor(
    readonly topic: string,
    nodes: readonly RoomNode[],
    waits: Waits,
  ) {
    this.name = presenceTopicOf(topic);
    this.#nodes = nodes;
    this.#waits = waits;
    this.#announced = waits.listen(this.#node(nodes.length - 1).broker);
  }

  /** @param nodes the last one is that which is read at */
  static async open(waits: Waits, nodes: readonly RoomNode[], topic = newRoom()): Promise<Room> {
    const room = new Room(topic, nodes, waits);
    await room.#reader.subscribe(room.name);
    return room;
  }

  say(...said: Presence[]): Promise<readonly RefusedMember[]> {
    return this.sayAt(0, ...said);
  }

  async sayAt(node: number, ...said: Presence[]): Promise<readonly RefusedMember[]> {
    return await this.#node(node).register.present(this.topic, said);
  }

  async position(): Promise<Position> {
    const [position] = await this.#reader.positions([this.name]);
    if (!position) throw new Error(`the engine does not have ${this.name}`);
    return position;
  }

  /** Everything that has happened, as it was announced. */
  async messages(): Promise<readonly Message[]> {
    const position = await this.position();
    if (position.offset === 0) return [];
    await this.#announced.upTo(this.name, position);
    return this.#announced.of(this.name);
  }

  async entries(): Promise<string[]> {
    return (await this.messages()).map(entryOf);
  }

  /** Everything that has happened, once it is so. */
  async entriesWith(entry: string): Promise<string[]> {
    let entries: string[] = [];
    await this.#waits.until(async () => {
      entries = await this.entries();
      return entries.includes(entry);
    }, `${entry} in the members of ${this.topic}`);
    return entries;
  }

  /** Reads what is kept, at least up to a position, or up to that of now. */
  async read(since: Since = all, upTo?: Position): Promise<History> {
    const position = upTo ?? (await this.position());
    const history = await this.#waits.readPage(this.#reader, this.name, since, position, wholePage);
    return await wholeOf(this.#reader, this.name, history);
  }

  /** Those who are in, in the order in which they came or changed. */
  async members(since?: Since): Promise<string[]> {
    return (await this.read(since)).messages.map(entryOf);
  }

  get #reader(): Broker {
    return this.#node(this.#nodes.length - 1).broker;
  }

  #node(index: number): RoomNode {
    const node = this.#nodes[index];
    if (!node) throw new Error(`the room has no node ${index}`);
    return node;
  }
}

/** What a message says, in short: `+ann true 7` joined at second 7, `~ann {"n":2} 7` has changed, and `-ann` has left. */
export function entryOf({ attributes, data }: Message): string {
  const { type, partitionkey: key } = attributes ?? {};
  if (type === removedType) return `-${key}`;
  const { member, since } = JSON.parse(String(data)) as { member: unknown; since: string };
  const sign = { "longwire.join": "+", "longwire.update": "~" }[String(type)] ?? `(${type})`;
  return `${sign}${key} ${JSON.stringify(member)} ${Date.parse(since) / 1000}`;
}

/** The body of a test that has a topic with presence, in an engine with these limits. */
export const inRoom =
  <Kind extends Engine>({ withTopics, can, ...contract }: Contract<Kind>) =>
  (run: (room: Room, pass: (seconds: number) => Promise<void>) => Promise<void>, limits?: ContractLimits) =>
    withTopics(async (broker, engine) => {
      const register = can.presenceOf?.(engine, broker);
      if (!register) throw new Error("the engine does not know who is here");
      const room = await Room.open(contract, [{ broker, register }]);
      await run(room, async (seconds) => can.advance?.(engine, seconds));
    }, limits);
