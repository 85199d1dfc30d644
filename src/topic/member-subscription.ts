/** A subscription of a client that others see: its member enters the topic with it, and leaves when it is closed. */
import type { MemberLine, Members } from "./members.ts";
import type { Member, PresenceFull } from "./presence.ts";
import {
  type LiveSubscribers,
  type LocalTopic,
  type Requested,
  type Subscriber,
  Subscription,
} from "./subscription.ts";

/** A class of its own, because two more fields would cost every other subscription 64 bytes. */
export class MemberSubscription<Live extends LiveSubscribers = LiveSubscribers>
  extends Subscription<Live>
  implements MemberLine
{
  nextOfMember: MemberLine | undefined;
  readonly member: Member;
  readonly #members: Members;
  #subscriber: Subscriber<Live> | undefined;

  constructor(
    topic: LocalTopic<Live>,
    requested: Requested | undefined,
    { member, members }: { readonly member: Member; readonly members: Members },
  ) {
    super(topic, requested);
    this.member = member;
    this.#members = members;
  }

  override begin(subscriber: Subscriber<Live>): void {
    if (this.isClosed) return;
    super.begin(subscriber);
    if (this.isClosed) return; // It was told a gap, and is gone.
    this.#subscriber = subscriber;
    this.#members.enter(this);
  }

  override close(): void {
    super.close();
    if (!this.#subscriber) return;
    this.#subscriber = undefined;
    this.#members.leave(this);
  }

  refuse(error: PresenceFull): void {
    this.#subscriber?.fail(error);
  }
}
