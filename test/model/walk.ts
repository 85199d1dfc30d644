/** Random ways through worlds that are too large to visit every state of. */
import { Random } from "../support/random.ts";
import { type Action, actionsOf, after, beginning, type Course, checkSettled, Violation } from "./actions.ts";
import type { Rules } from "./scripts.ts";
import { settings } from "./sizes.ts";

const steps = 60;

/** How often an action is taken, against 1 for each kind that is not named: faults are to meet something that can be lost. */
const weights: Readonly<Record<string, number>> = {
  append: 12,
  acknowledge: 12,
  connect: 8,
  beat: 4,
  visit: 4,
};

/** Three servers and three nodes, in one of the settings. @throws {Violation} with the way to it */
export function walk(seed: number, rules: Rules): void {
  const random = new Random(seed);
  const setting = random.pick(Object.values(settings));
  const course: Course = { rules, setting, messagesMax: 10, faultsMax: 6, isFine: true };
  const trace: Action[] = [];
  let world = beginning(course, 3, 3);
  for (let step = 0; step < steps; step++) {
    const kinds = Map.groupBy(actionsOf(world, course), ([name]) => name);
    if (kinds.size === 0) return;
    const choices = [...kinds].flatMap(([name, actions]) => Array(weights[name] ?? 1).fill(actions));
    const action: Action = random.pick(random.pick(choices));
    trace.push(action);
    try {
      world = after(world, action, course);
      checkSettled(world, course);
    } catch (error) {
      if (error instanceof Violation)
        throw new Violation(`${error.message}: ${JSON.stringify(setting)} ${JSON.stringify(trace)}`);
      throw error;
    }
  }
}
