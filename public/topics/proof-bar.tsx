/** The loss proof as numbers, and the buttons that cut. */
import { words } from "../ground/words.ts";
import type { Run, RunKind } from "./run.ts";
import type { Subscription } from "./subscription.ts";

/** Long enough to publish something meanwhile. */
const cutSeconds = 10;

interface ProofBarProps {
  readonly subscription: Subscription;
  /** Whether the line was cut, and is not back yet. */
  readonly isCut: boolean;
  readonly run: Run;
  readonly onRun: (kind: RunKind) => void;
}

export function ProofBar({ subscription, isCut, run, onRun }: ProofBarProps) {
  const say = words.value;
  const { proof, log } = subscription;
  const { name } = subscription.state.value;
  const isAway = name === "waiting" || (name === "connecting" && isCut);
  const isOpen = name === "open";
  const running = run.kind.value;
  const toggle = (kind: RunKind): void => (running === kind ? run.stop() : onRun(kind));
  const cutOrReturn = (): void => (isAway ? subscription.connect() : subscription.cut(cutSeconds));
  if (log.version.value < 0) return null;
  const isProven = isOpen && proof.cuts > 0 && proof.seen > 0;
  const numbers: readonly (readonly [string, string, number])[] = [
    ["cuts", say.proofCuts, proof.cuts],
    ["seen", say.proofSeen, proof.seen],
    ["lost", say.proofLost, proof.lost],
    ["twice", say.proofTwice, proof.twice],
    ["gaps", say.proofGaps, proof.gaps],
  ];
  return (
    <div class="proof">
      <dl data-part="proof" data-proven={isProven ? "" : undefined} title={say.proofMeaning}>
        {numbers.map(([name, label, count]) => (
          <div
            key={name}
            data-proof={name}
            data-bad={count > 0 && (name === "lost" || name === "twice") ? "" : undefined}
          >
            <dt>{label}</dt>
            <dd>{count.toLocaleString(say.tag)}</dd>
          </div>
        ))}
      </dl>
      <div class="actions">
        <button
          type="button"
          class="cut"
          data-part="cut"
          onClick={cutOrReturn}
          disabled={!isOpen && !isAway}
          title={say.cutMeaning}
        >
          {isAway ? say.comeBack : say.cut}
        </button>
        <button
          type="button"
          class="primary"
          data-part="show"
          onClick={() => toggle("show")}
          title={say.showMeaning}
        >
          {running === "show" ? say.stop : say.show}
        </button>
        <button type="button" data-part="minute" onClick={() => toggle("minute")} title={say.minuteMeaning}>
          {running === "minute" ? say.stopMinute(run.secondsLeft.value) : say.minute}
        </button>
      </div>
    </div>
  );
}
