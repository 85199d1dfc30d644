/** `longwire check`: opens every transport of a server through whatever is in the way, and proves that nothing is lost. */

import { whyNotConnected } from "./check-faults.ts";
import { checkResume, type LineKind } from "./check-resume.ts";
import { CheckTarget } from "./check-target.ts";
import {
  checkConnect,
  checkEvents,
  checkHttp2,
  checkIdle,
  checkPoll,
  checkWebSocket,
  type Finding,
  wrong,
} from "./check-transports.ts";

export interface CheckTask {
  /** Where the server is, with the prefix below which it is mounted. */
  readonly base: string;
  readonly token: string;
  /** Empty for a new one. */
  readonly topic: string;
  /** How many to publish; 0 leaves the proof out. */
  readonly messages: number;
  /** 0 leaves silent lines out. */
  readonly idleSeconds: number;
  readonly json: boolean;
}

/** @returns whether everything is fine: a told gap is, a loss is not */
export async function runCheck(task: CheckTask): Promise<boolean> {
  const findings: Finding[] = [];
  const progress = new Progress(!task.json && process.stderr.isTTY);
  if (!task.json) console.log(`longwire check ${task.base}`);
  for await (const finding of findingsOf(task, progress)) {
    findings.push(finding);
    progress.clear();
    if (!task.json) console.log(line(finding));
  }
  const isFine = findings.every((finding) => finding.isFine);
  if (task.json) console.log(JSON.stringify({ url: task.base, isFine, findings }, undefined, 2));
  else console.log(isFine ? "All is well." : "Something is wrong; see the lines with ✗.");
  return isFine;
}

const line = ({ check, isFine, isLeftOut, text }: Finding): string =>
  `${isLeftOut ? "–" : isFine ? "✓" : "✗"} ${check.padEnd(22)} ${text}`;

async function* findingsOf(task: CheckTask, progress: Progress): AsyncGenerator<Finding> {
  const { base, token, messages, idleSeconds } = task;
  const target = new CheckTarget(
    base,
    task.topic || `longwire-check/${crypto.randomUUID().slice(0, 8)}`,
    token,
  );
  const connect = await checkConnect(target).catch((error) => wrong("connect", whyNotConnected(error, base)));
  yield connect;
  if (!connect.isFine) return;
  progress.show("transports", 0);
  const [socket, events, poll] = await Promise.all([
    checkWebSocket(target),
    checkEvents(target),
    checkPoll(target),
  ]);
  yield* [socket, events, poll];
  if (target.isSecure) yield await checkHttp2(target);
  yield idleSeconds > 0
    ? await checkIdle(target, idleSeconds, (share) => progress.show("idle", share))
    : idleNotTried;
  const kinds: LineKind[] = [
    ...(socket.isFine ? ["WebSocket" as const] : []),
    ...(events.isFine ? ["events" as const] : []),
  ];
  if (messages === 0) return;
  if (!poll.isFine || kinds.length === 0) {
    yield wrong("resume", "not tried: no line to follow a topic with");
    return;
  }
  yield* await checkResume(target, kinds, messages, (share) => progress.show("resume", share));
}

/** Silence takes its time, so it is tried only when it is asked for. Many proxies cut after 60 s. */
const idleNotTried: Finding = {
  check: "idle",
  isFine: true,
  isLeftOut: true,
  text: "not tried: --idle 90s holds silent lines open for so long, which many proxies cut after 60 s",
};

const barWidth = 30;

/** One line on a terminal's stderr, overwritten. */
class Progress {
  #isShown = false;
  #percent = -1;

  constructor(readonly isTerminal: boolean) {}

  show(what: string, share: number): void {
    const percent = Math.min(100, Math.floor(share * 100));
    if (!this.isTerminal || percent === this.#percent) return;
    this.#percent = percent;
    const done = Math.round((percent / 100) * barWidth);
    process.stderr.write(
      `\r  ${what.padEnd(12)} [${"#".repeat(done)}${" ".repeat(barWidth - done)}] ${percent} %`,
    );
    this.#isShown = true;
  }

  clear(): void {
    if (this.#isShown) process.stderr.write("\r\u001b[K");
    this.#isShown = false;
    this.#percent = -1;
  }
}
