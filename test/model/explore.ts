/** Visits every state that can be reached, those with the fewest faults first, and of these the nearest. */
import { type Action, actionsOf, after, beginning, type Course, checkSettled, Violation } from "./actions.ts";
import { Keys } from "./key.ts";
import type { World } from "./world.ts";

export interface Exploration {
  readonly states: number;
  readonly steps: number;
  /** Set where a promise was broken: how, and the way there. */
  readonly broken?: { readonly words: string; readonly trace: readonly Action[] };
}

interface Way {
  readonly action?: Action;
  readonly before?: Way;
}

interface Found {
  readonly world: World;
  readonly way: Way;
}

export function explore(course: Course): Exploration {
  const keys = new Keys(course);
  const seen = new Set<bigint>();
  let steps = 0;
  let states = 0;
  /** What is to be visited, by the number of faults. */
  const levels: Found[][] = Array.from({ length: course.faultsMax + 1 }, () => []);
  levels[0]?.push({ world: beginning(course), way: {} });
  for (const level of levels) {
    // The list grows while it is gone through.
    for (const { world, way } of taken(level)) {
      for (const action of actionsOf(world, course)) {
        steps++;
        const further = { action, before: way };
        try {
          const reached = after(world, action, course);
          const key = keys.of(reached);
          if (seen.has(key)) continue;
          states++;
          seen.add(key);
          for (const covered of coveredBy(reached, course, keys)) seen.add(covered);
          checkSettled(reached, course);
          levels[reached.faults]?.push({ world: reached, way: further });
        } catch (error) {
          if (!(error instanceof Violation)) throw error;
          return { states, steps, broken: { words: error.message, trace: traceOf(further) } };
        }
      }
    }
  }
  return { states, steps };
}

/** Takes what is in a list, and what is added meanwhile, so that what was visited can be forgotten. */
function* taken<Item>(list: Item[]): Generator<Item> {
  while (list.length > 0) yield* list.splice(0, 10_000);
}

/** Worlds that differ from one only in that fewer faults can follow: what breaks a promise there breaks it here. */
function* coveredBy(world: World, course: Course, keys: Keys): Generator<bigint> {
  for (let faults = world.faults + 1; faults <= course.faultsMax; faults++)
    yield keys.of({ ...world, faults });
}

function traceOf(way: Way): Action[] {
  const trace: Action[] = [];
  for (let at: Way | undefined = way; at?.action; at = at.before) trace.push(at.action);
  return trace.toReversed();
}
