/** Why a connection ended, in words, and in the log. */
import { words } from "../ground/words.ts";
import type { LogStore } from "../log/store.ts";
import type { Words } from "../words/english.ts";
import type { Ending, LineState } from "./line.ts";

/** Such as `1006: the connection was lost or refused`. */
export function describeEnding({ code, reason, cause }: Ending, say: Words): string {
  const meaning = cause === "remote" ? (say.codes[code] ?? say.codeUnknown) : say.endings[cause];
  return say.ending(code, meaning, reason === "" ? "" : say.reason(reason));
}

/** Notes each end once, not each failed try after it: a server that is away for a night would fill the log. */
export class EndingNotes {
  readonly #log: LogStore;
  #wasOpen = false;

  constructor(log: LogStore) {
    this.#log = log;
  }

  changed(state: LineState): void {
    if (state.name === "open") this.#wasOpen = true;
    if ((state.name !== "closed" && state.name !== "waiting") || !state.ending) return;
    const say = words.peek();
    const { ending } = state;
    if (ending.cause === "cut") this.#log.note(say.noteCut);
    else if (this.#wasOpen || state.name === "closed" || state.tries === 1)
      this.#log.note(say.noteEnded(describeEnding(ending, say)));
    this.#wasOpen = false;
  }
}
