/** Visits every state that can be reached, the nearest first. */
import { type Action, actionsOf, after, beginning, type Course, checkSettled, Violation } from "./actions.ts";
import { textOf, type World } from "./world.ts";

export interface Exploration {
  readonly states: number;
  readonly steps: number;
  /** Set where a promise was broken: how, and the shortest way there. */
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
  const seen = new Set<bigint>();
  let steps = 0;
  let now: Found[] = [{ world: beginning(course), way: {} }];
  while (now.length > 0) {
    const next: Found[] = [];
    for (const { world, way } of now) {
      for (const action of actionsOf(world, course)) {
        steps++;
        const further = { action, before: way };
        try {
          const reached = after(world, action, course);
          const key = keyOf(reached);
          if (seen.has(key)) continue;
          seen.add(key);
          checkSettled(reached, course);
          next.push({ world: reached, way: further });
        } catch (error) {
          if (!(error instanceof Violation)) throw error;
          return { states: seen.size, steps, broken: { words: error.message, trace: traceOf(further) } };
        }
      }
    }
    now = next;
  }
  return { states: seen.size, steps };
}

function keyOf(world: World): bigint {
  return Bun.hash.xxHash64(textOf(world)) as bigint;
}

function traceOf(way: Way): Action[] {
  const trace: Action[] = [];
  for (let at: Way | undefined = way; at?.action; at = at.before) trace.push(at.action);
  return trace.toReversed();
}
