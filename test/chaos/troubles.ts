/** When something was wrong, so that an answer with 503 can be told from one that nothing explains. */

/** What an event may make a cluster refuse. */
export type Refuses = "everything" | "publications" | "nothing";

/** So long after the primary answers again a node may still refuse. */
const graceMilliseconds = 3000;

/** A timer or an answer that is late by so much shows a machine that is too busy: a node waits for Redis for 2.5 s. */
const busyMilliseconds = 1000;

/** How often the primary and the nodes are asked for an answer. */
const askMilliseconds = 250;

interface Trouble {
  readonly name: string;
  readonly refuses: Refuses;
  /** Whether it is the machine, and nothing that was done to the cluster. */
  readonly isLoad: boolean;
  /** In milliseconds of `performance.now()`; unlimited until it is over. */
  until: number;
}

export class Troubles {
  /** Answers with 503 that nothing explains but a busy machine. */
  excused = 0;
  readonly #troubles: Trouble[] = [];

  /** @returns ends it: the primary answers again */
  begin(name: string, refuses: Refuses, isLoad = false): () => void {
    const trouble = { name, refuses, isLoad, until: Number.POSITIVE_INFINITY };
    this.#troubles.push(trouble);
    return () => {
      trouble.until = performance.now() + graceMilliseconds;
    };
  }

  /**
   * Notes while this machine is so busy that a timer is late, or an answer of the primary or a node.
   * @returns ends it
   */
  watch(ask: () => Promise<unknown>): Disposable {
    let last = performance.now();
    let isAsking = false;
    const timer = setInterval(async () => {
      const began = performance.now();
      if (began - last > busyMilliseconds) this.begin("the machine was busy", "everything", true)();
      last = began;
      if (isAsking) return;
      isAsking = true;
      let end: (() => void) | undefined;
      // While it is late, and not only when it comes: a 503 may come before.
      const late = setTimeout(() => {
        end = this.begin("an answer was late", "everything", true);
      }, busyMilliseconds);
      await ask();
      clearTimeout(late);
      end?.();
      isAsking = false;
    }, askMilliseconds);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  /** @returns undefined where a 503 is explained that was asked for then; else since when nothing explains it */
  explain(what: "publication" | "read", askedMilliseconds: number): string | undefined {
    const explaining = this.#troubles.filter(
      ({ refuses }) => refuses === "everything" || (what === "publication" && refuses === "publications"),
    );
    const lasting = explaining.filter(({ until }) => askedMilliseconds <= until);
    if (lasting.length > 0) {
      if (lasting.every(({ isLoad }) => isLoad)) this.excused++;
      return undefined;
    }
    const last = explaining.at(-1);
    if (!last) return "before anything happened";
    const seconds = ((askedMilliseconds - last.until + graceMilliseconds) / 1000).toFixed(1);
    return `${seconds} s after "${last.name}" was over`;
  }
}
