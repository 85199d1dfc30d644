/** What delivery knows of a subscriber. */
import type { Message } from "../topic/message.ts";
import type { Cutter } from "./cutter.ts";
import type { Form } from "./forms.ts";
import type { Frame } from "./frame.ts";

/** A live subscriber. */
export interface Reader {
  readonly form: Form;
  /** Given to it, and not sent. */
  readonly unsentBytes: number;
  /** The subscriptions of all its topics. */
  readonly subscriptions: Iterable<{ readonly live: ReaderLimits }>;
  /** Takes a message. @returns false if it cannot, and must be cut before it would get a later one */
  deliver(message: Message, frame: Frame): boolean;
  /** Called in place of `deliver` if it holds too much. It MUST leave the topic in this step: cut, or for paced replay. */
  tooSlow(cutter: Cutter): void;
  /** Ends it after `deliver` threw. */
  fail(error: unknown): void;
  /** Called for a native form when the reader becomes live on a topic. */
  enter?(nativeTopic: string): void;
  /** Called when it leaves the topic, unless it is closed. */
  exit?(nativeTopic: string): void;
}

/** A topic, to a reader of several. */
export interface ReaderLimits {
  /** Whether a reader with so many unsent bytes holds more than a limit, by the rule (`isTooSlow`) for this topic. */
  isTooSlow(form: Form, unsentBytes: number, limitBytes: number): boolean;
}
