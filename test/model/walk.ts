/** Random ways through worlds that are too large to visit every state of. */
import { Random } from "../support/random.ts";
import { type Action, actionsOf, after, beginning, type Course, checkSettled, Violation } from "./actions.ts";
import type { Rules } from "./scripts.ts";
import { settings, type Way } from "./sizes.ts";

/** How often an action is taken, against 1 for each kind that is not named: faults are to meet something that can be lost. */
const weights: Readonly<Record<string, number>> = {
  append: 12,
  acknowledge: 12,
  connect: 8,
  beat: 4,
  visit: 4,
};

/** How large a world is walked through, and how far. */
interface Size {
  readonly servers: number;
  readonly nodes: number;
  readonly messagesMax: number;
  readonly faultsMax: number;
  readonly steps: number;
}

const large: Size = { servers: 3, nodes: 3, messagesMax: 10, faultsMax: 6, steps: 60 };

/** Through a large world, in one of the settings. @returns the way @throws {Violation} with the way to it */
export function walk(seed: number, rules: Rules, size: Size = large): Way {
  const random = new Random(seed);
  const setting = random.pick(Object.values(settings));
  const { servers, nodes, messagesMax, faultsMax, steps } = size;
  const course: Course = { rules, setting, messagesMax, faultsMax, isFine: true };
  const trace: Action[] = [];
  const way = { setting, nodes, isFine: true, trace };
  let world = beginning(course, servers, nodes);
  for (let step = 0; step < steps; step++) {
    const kinds = Map.groupBy(actionsOf(world, course), ([name]) => name);
    if (kinds.size === 0) break;
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
  return way;
}
