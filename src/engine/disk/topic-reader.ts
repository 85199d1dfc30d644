/** What readers see of the topics: positions, and the messages that retention has not made invisible. It writes nothing. */
import type { Page } from "../../topic/broker.ts";
import type { Position, Since, TopicPosition } from "../../topic/message.ts";
import { limitsOf, type TopicLimits } from "../../topic/retention.ts";
import type { DiskLog } from "./disk-log.ts";
import type { KeyedReader } from "./keyed-reader.ts";
import { endOf } from "./messages.ts";
import type { StoredHistory, StoredKeyState, StoredTopic, StoreOptions } from "./protocol.ts";
import type { DiskTopic, TopicTable } from "./topic-table.ts";

export interface TopicReaderDeps {
  readonly topics: TopicTable;
  readonly log: DiskLog;
  readonly keyed: KeyedReader;
  readonly limits: StoreOptions["limits"];
  /** Names of topics with a subscriber. */
  readonly subscribed: ReadonlySet<string>;
  /** Begins every epoch. */
  readonly generation: string;
  readonly sinceTime: number;
}

export class TopicReader {
  readonly #deps: TopicReaderDeps;

  constructor(deps: TopicReaderDeps) {
    this.#deps = deps;
  }

  /** A topic whose position is known. */
  known(name: string, now: number): DiskTopic | undefined {
    const topic = this.#deps.topics.byName(name);
    return topic && (topic.isFormer || this.isExpired(topic, now)) ? undefined : topic;
  }

  isExpired(topic: DiskTopic, now: number): boolean {
    const { limits, subscribed } = this.#deps;
    return (
      topic.used + limits.positionAgeSeconds * 1000 <= now &&
      !subscribed.has(topic.name) &&
      this.#isUnused(topic, now)
    );
  }

  position(name: string, now: number): TopicPosition | undefined {
    const topic = this.known(name, now);
    return topic && this.topicPositionOf(topic);
  }

  inspect(name: string, now: number): StoredTopic | undefined {
    const topic = this.known(name, now);
    if (!topic) return undefined;
    return {
      position: this.topicPositionOf(topic),
      retained: topic.keyed ? topic.keyed.values : topic.last - this.#firstVisible(topic, now) + 1,
    };
  }

  history(name: string, since: Since, page: Page, now: number): StoredHistory | undefined {
    const topic = this.known(name, now);
    if (!topic) return undefined;
    const { log, sinceTime } = this.#deps;
    const { end, ...position } = this.topicPositionOf(topic);
    if (topic.keyed)
      return { ...this.#deps.keyed.history(topic, topic.keyed, position, { since, page, now }), end };
    const { epoch } = position;
    const first = this.#firstVisible(topic, now);
    let start = first;
    let complete = true;
    if (since.kind === "position") {
      const { offset } = since.position;
      complete = since.position.epoch === epoch && offset >= first - 1 && offset <= position.offset;
      if (complete) start = offset + 1;
    } else if (since.kind === "time") {
      complete = this.#droppedTime(topic, first) < since.time && sinceTime <= since.time;
      start = log.firstSince(topic, first, since.time);
    } else if (since.kind === "last") {
      start = Math.max(first, topic.last - since.count + 1);
    } else if (since.kind === "unknown") {
      complete = false;
    }
    const entries = log.page(topic, start, page);
    const from = { epoch, offset: start - 1 };
    // What came after a message that is older than the file's generation may have been lost with the file's end.
    const firstTime = entries.bytes.length > 0 ? entries.timeAt(0) : now;
    const isTrimmed = from.offset > 0 || firstTime < sinceTime;
    return { complete, isTrimmed, from, position, end, entries: new Uint8Array(entries.bytes) };
  }

  value(name: string, key: string, now: number): StoredKeyState | undefined {
    const topic = this.known(name, now);
    if (!topic?.keyed) return undefined;
    return { position: this.topicPositionOf(topic), ...this.#deps.keyed.value(topic, topic.keyed, key, now) };
  }

  epochOf({ id }: DiskTopic): string {
    return this.#deps.generation + id.toString(36);
  }

  /** That of the topic's end, where it has ended. */
  positionOf(topic: DiskTopic): Position {
    return { epoch: this.epochOf(topic), offset: topic.last + topic.ended };
  }

  topicPositionOf(topic: DiskTopic): TopicPosition {
    const position = this.positionOf(topic);
    if (!topic.ended) return position;
    return { ...position, end: endOf(topic.name, position, topic.time) };
  }

  limitsOf({ name }: DiskTopic): TopicLimits {
    return limitsOf(this.#deps.limits, name);
  }

  #isUnused(topic: DiskTopic, now: number): boolean {
    if (topic.keyed) return this.#deps.keyed.isUnused(topic, topic.keyed, now);
    return this.#firstVisible(topic, now) > topic.last;
  }

  /** The offset of the first message that readers see; one more than the last where there is none. */
  #firstVisible(topic: DiskTopic, now: number): number {
    const { messages, ageSeconds } = this.limitsOf(topic);
    const first = Math.max(topic.dropped, topic.last - messages) + 1;
    return this.#deps.log.firstSince(topic, first, now - ageSeconds * 1000);
  }

  /** When the last message that readers do not see was received. */
  #droppedTime(topic: DiskTopic, firstVisible: number): number {
    if (firstVisible - 1 > topic.dropped) return this.#deps.log.receivedTime(topic, firstVisible - 1);
    return topic.droppedTime ?? Number.NEGATIVE_INFINITY;
  }
}
