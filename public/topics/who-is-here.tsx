/** The members of the topic, and a name for the page's own line where it may choose one. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { FollowedMessage } from "../../src/client/client.ts";
import { words } from "../ground/words.ts";
import { canName } from "./presence.ts";
import type { Subscription } from "./subscription.ts";

/** Each is an item in the document. */
const shownMax = 500;

/** A screen reader is told the number once it has stood still for so long. */
const stillMilliseconds = 1000;

export function WhoIsHere({ subscription }: { readonly subscription: Subscription }) {
  const { presence, log } = subscription;
  if (log.version.value < 0 || !presence.members) return null;
  return <Here subscription={subscription} members={[...presence.members]} />;
}

interface HereProps {
  readonly subscription: Subscription;
  /** With their keys. Another array after each change: what stays the same is not drawn again. */
  readonly members: readonly (readonly [string, FollowedMessage])[];
}

function Here({ subscription, members }: HereProps) {
  const say = words.value;
  const own = subscription.choice.value.member;
  const count = say.here(members.length);
  const said = useSignal("");
  useEffect(() => {
    const timer = setTimeout(() => (said.value = count), stillMilliseconds);
    return () => clearTimeout(timer);
  }, [count]);
  return (
    <section class="here" data-part="here" aria-labelledby="here-title">
      <h3 id="here-title">
        {count} {!subscription.presence.isLive && <span class="label">{say.hereBefore}</span>}
      </h3>
      <p class="unseen" role="status">
        {said.value}
      </p>
      {canName && <NameForm own={own} onJoin={(name) => subscription.joinAs(name)} />}
      {members.length > 0 && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and nothing in it takes the focus.
        <ul aria-labelledby="here-title" tabIndex={0}>
          {members.slice(0, shownMax).map(([key, { data }]) => (
            <Member key={key} id={key} data={data as MemberData} isOwn={key === own} />
          ))}
        </ul>
      )}
      {members.length > shownMax && <p class="guide">{say.hereFull(shownMax)}</p>}
    </section>
  );
}

/** `data` of `longwire.join` and `longwire.update`. */
interface MemberData {
  readonly member: true | { readonly name?: unknown };
  readonly since: string;
}

interface MemberProps {
  /** The member's key. */
  readonly id: string;
  readonly data: MemberData;
  readonly isOwn: boolean;
}

function Member({ id, data: { member, since }, isOwn }: MemberProps) {
  const say = words.value;
  const name = member !== true && typeof member.name === "string" ? member.name : "";
  return (
    <li title={id}>
      <span>{name || id}</span>
      {isOwn && <span class="label">{say.you}</span>}
      <time dateTime={since}>{say.hereSince(shortTime(new Date(since), say.tag))}</time>
    </li>
  );
}

/** With the date where it is not today. */
function shortTime(time: Date, language: string): string {
  const isToday = time.toDateString() === new Date().toDateString();
  return time.toLocaleString(language, { timeStyle: "short", ...(isToday ? {} : { dateStyle: "short" }) });
}

interface NameFormProps {
  /** The name that the line has; empty for none. */
  readonly own: string;
  readonly onJoin: (name: string) => void;
}

function NameForm({ own, onJoin }: NameFormProps) {
  const say = words.value;
  const typed = useSignal(own);
  const name = typed.value.trim();
  const isJoined = own !== "" && name === own;
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onJoin(isJoined ? "" : name);
      }}
    >
      <label>
        <span>{say.nameLabel}</span>
        <input
          data-part="name"
          value={typed.value}
          onInput={({ currentTarget }) => (typed.value = currentTarget.value)}
          autocomplete="off"
          spellcheck={false}
        />
      </label>
      <button type="submit" data-part="join" disabled={name === own && !isJoined}>
        {isJoined ? say.leave : say.join}
      </button>
    </form>
  );
}
