/** The state of a line: why it ended, when the next try is, its address, and the buttons to change it. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { nextToPage } from "../ground/address.ts";
import { showMilliseconds } from "../ground/times.ts";
import { words } from "../ground/words.ts";
import { describeEnding } from "./endings.ts";
import type { Line, LineState } from "./line.ts";

interface LineStatusProps {
  readonly line: Pick<Line, "connect" | "disconnect">;
  readonly state: LineState;
  /** Undefined before the line was used. */
  readonly address: string | undefined;
  readonly roundTripMilliseconds: number | undefined;
  /** The state of a line that was not used. */
  readonly unused: string;
  /** Why an open line brings nothing at the moment. */
  readonly trouble?: string | undefined;
}

export function LineStatus({
  line,
  state,
  address,
  roundTripMilliseconds,
  unused,
  ...rest
}: LineStatusProps) {
  const say = words.value;
  const ending = "ending" in state ? state.ending : undefined;
  const isUnused = state.name === "closed" && ending === undefined;
  const trouble = state.name === "open" ? rest.trouble : undefined;
  const isOver = state.name === "closed" || state.name === "closing";
  return (
    <div class="status">
      <p class="state">
        <span class="announced" role="status">
          <span
            class="pill"
            data-part="state"
            data-state={trouble === undefined ? state.name : "waiting"}
            data-cause={isUnused ? "own" : (ending?.cause ?? "")}
          >
            {isUnused ? unused : trouble === undefined ? say.states[state.name] : say.openInTrouble}
          </span>{" "}
          <span data-part="ending">{trouble ?? (ending && describeEnding(ending, say))}</span>
        </span>
      </p>
      <p class="facts">
        <code class="address" data-part="address" title={address} hidden={state.name === "waiting"}>
          {address}
        </code>
        {roundTripMilliseconds !== undefined && state.name === "open" && (
          <span title={say.roundTripMeaning}>
            {say.roundTrip}{" "}
            <output data-part="roundTripTime">{showMilliseconds(roundTripMilliseconds)}</output>
          </span>
        )}
        <NextTry state={state} />
      </p>
      <div class="actions">
        <button
          type="button"
          data-part="reconnect"
          onClick={() => line.connect()}
          disabled={isUnused && address === undefined}
        >
          {say.reconnect}
        </button>
        <button type="button" data-part="disconnect" onClick={() => line.disconnect()} disabled={isOver}>
          {say.disconnect}
        </button>
      </div>
    </div>
  );
}

function NextTry({ state }: { readonly state: LineState }) {
  const say = words.value;
  const tick = useSignal(0);
  useEffect(() => {
    if (state.name !== "waiting") return;
    const timer = setInterval(() => tick.value++, 250);
    return () => clearInterval(timer);
  }, [state]);
  const secondsLeft = (atMilliseconds: number): number =>
    tick.value < 0 ? 0 : Math.max(0, Math.ceil((atMilliseconds - performance.now()) / 1000));
  const text =
    state.name === "waiting"
      ? say.nextTry(secondsLeft(state.retryAtMilliseconds), state.tries)
      : state.name === "closed" && state.ending?.cause === "remote"
        ? say.noRetry
        : "";
  return <span data-part="next">{text}</span>;
}

/** What to do about the end of a line, and where the docs explain it. It is below the log, which it must not move. */
export function EndingHelp({ state }: { readonly state: LineState }) {
  const say = words.value;
  const ending = "ending" in state ? state.ending : undefined;
  const help = ending?.cause === "remote" ? say.codeHelp[ending.code] : undefined;
  if (help === undefined) return null;
  return (
    <p class="help" data-part="help">
      {help}{" "}
      <a href={nextToPage("docs").href} target="_blank" rel="noreferrer">
        {say.closeCodes}
      </a>
    </p>
  );
}
