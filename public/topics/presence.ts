/** Who is on the topic that the page follows, where the server knows it and shows it. It has a line of its own. */
import { type FollowedMessage, type Following, followState } from "../../src/client/client.ts";
import type { PagePresence } from "../../src/endpoint/page.ts";
import { token } from "../ground/settings.ts";
import { presenceUrl } from "./requests.ts";

/** What the server told the page in index.html. */
const kind = document.querySelector<HTMLElement>("#page")?.dataset.presence as PagePresence;

/** Whether a line of the page may name its own member. */
export const canName = kind === "open";

export class Presence {
  /** By key; undefined where the members of the topic are not known, or not shown to this page. */
  members: ReadonlyMap<string, FollowedMessage> | undefined;
  /** Whether every change arrives. */
  isLive = false;
  readonly #onChange: () => void;
  #following: Following | undefined;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** Another topic is followed from now on. */
  restart(): void {
    this.stop();
    this.members = undefined;
  }

  /** The members stay as they were. */
  stop(): void {
    this.#following?.stop();
    this.#following = undefined;
  }

  /** Does nothing after the first time, until `stop`. A refusal is final, and in a browser's console it is no error. */
  start([topic, ...others]: readonly string[]): void {
    if (kind === "none" || topic === undefined || others.length > 0 || this.#following) return;
    this.#following = followState(presenceUrl(topic), {
      ...(token.peek() === "" ? {} : { token: () => token.peek() }),
      onChange: (members) => {
        this.members = members;
        this.#setLive(true);
      },
      onLost: (code) => {
        this.#setLive(false);
        if (code === 4401) this.#following?.stop();
      },
      onStop: (_, reason) => {
        if (reason !== "stopped") this.members = undefined;
        this.#setLive(false);
      },
    });
  }

  #setLive(isLive: boolean): void {
    this.isLive = isLive;
    this.#onChange();
  }
}
