/** The live readers of a topic, in this process and without connections. */
import { bufferLimits } from "../../src/delivery/buffer-limits.ts";
import type { Cutter, Holder } from "../../src/delivery/cutter.ts";
import { type Delivery, openDelivery } from "../../src/delivery/delivery.ts";
import { type Form, forms } from "../../src/delivery/forms.ts";
import type { Frame } from "../../src/delivery/frame.ts";
import type { Reader } from "../../src/delivery/reader.ts";
import type { TopicReaders } from "../../src/delivery/topic-readers.ts";
import { Counters } from "../../src/metrics.ts";
import type { Message } from "../../src/topic/message.ts";
import { type LiveSubscribers, type LocalTopic, Subscription } from "../../src/topic/subscription.ts";
import { Encodings } from "../../src/wire/encodings.ts";
import { type RecordingLog, recordingLog } from "./recording-log.ts";

/** A topic whose subscribers are live from the beginning. */
export const localTopic = <Live extends LiveSubscribers>(live: Live): LocalTopic<Live> => ({
  topic: "news",
  isKeyed: false,
  live,
  position: { epoch: "a", offset: 0 },
  end: undefined,
  isAt: () => true,
  next: () => undefined,
  read: () => Promise.reject(new Error("nothing is read here")),
  leave: () => undefined,
});

export const messageOf = (data: string): Message => ({
  topic: "news",
  epoch: "a",
  offset: 1,
  time: 0,
  contentType: "text/plain",
  data,
});

/** A node with readers whose unsent bytes are what the test says. */
export class ReaderStage {
  readonly counters = new Counters();
  readonly log: RecordingLog = recordingLog();
  readonly readers: FakeReader[] = [];
  readonly delivery: Delivery;

  constructor(limits: { bufferedBytesMax?: number; bufferedBytesTotalMax?: number } = {}) {
    const config = { bufferedBytesMax: 1024, bufferedBytesTotalMax: 0, messageBytesMax: 512, ...limits };
    const { readers } = this;
    const holders = {
      heldBytes: () => readers.reduce((sum, { heldBytes }) => sum + heldBytes, 0),
      holders: () => readers.filter(({ heldBytes }) => heldBytes > 0),
    };
    const encodings = new Encodings("");
    this.delivery = openDelivery(bufferLimits(config), holders, encodings, this.counters, this.log);
  }

  topic(): TopicReaders {
    return this.delivery.live();
  }

  /** A reader that is live on topics. */
  reader(topics: readonly TopicReaders[], form: Form = forms.program): FakeReader {
    const reader = new FakeReader(form);
    for (const topic of topics) reader.join(topic);
    this.readers.push(reader);
    return reader;
  }
}

export class FakeReader implements Reader, Holder {
  readonly address = "an address";
  readonly subscriptions: Subscription<TopicReaders>[] = [];
  readonly received: string[] = [];
  readonly calls: string[] = [];
  /** Kept of each frame that it is given. */
  keeps = (_bytes: number): number => 0;
  unsentBytes = 0;

  constructor(readonly form: Form) {}

  get heldBytes(): number {
    return this.unsentBytes;
  }

  /** @returns its subscription */
  join(topic: TopicReaders): Subscription<TopicReaders> {
    const subscription = new Subscription(localTopic(topic), undefined);
    this.subscriptions.push(subscription);
    subscription.begin({
      replay: () => true,
      gap: () => undefined,
      replayed: () => undefined,
      live: () => topic.add(subscription, this),
      end: () => undefined,
      fail: () => undefined,
    });
    subscription.advance();
    return subscription;
  }

  deliver({ data }: Message, frame: Frame): boolean {
    this.received.push(String(data));
    this.unsentBytes += this.keeps(Buffer.byteLength(frame));
    return true;
  }

  tooSlow(cutter: Cutter): void {
    cutter.cut(this, "slow");
  }

  fail(error: unknown): void {
    this.calls.push(`fail: ${String(error)}`);
  }

  enter(nativeTopic: string): void {
    if (nativeTopic) this.calls.push("enter");
  }

  exit(nativeTopic: string): void {
    if (nativeTopic) this.calls.push("exit");
  }

  leave(): void {
    this.calls.push("leave");
    for (const subscription of this.subscriptions) subscription.close();
  }

  abandon(): void {
    this.calls.push("abandon");
    this.unsentBytes = 0;
  }
}
