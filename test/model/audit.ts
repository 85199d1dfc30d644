/** Holds what key.ts says: after two worlds with one key the same can happen, and leads to worlds with one key again. */
import { type Action, actionsOf, after, beginning, type Course, checkSettled, Violation } from "./actions.ts";
import { Keys } from "./key.ts";
import type { World } from "./world.ts";

export interface Audit {
  /** Pairs of worlds that were compared. */
  readonly pairs: number;
  /** The ways to two worlds with one key after which not the same can happen. */
  readonly differing?: readonly (readonly Action[])[];
}

interface Found {
  readonly world: World;
  readonly trace: readonly Action[];
}

/** Compares each world with the first that had its key. */
export function audit(course: Course): Audit {
  const keys = new Keys(course);
  const first = new Map<bigint, Found>();
  let pairs = 0;
  const found: Found[] = [{ world: beginning(course), trace: [] }];
  for (const { world, trace } of found) {
    for (const action of actionsOf(world, course)) {
      const next = { world: after(world, action, course), trace: [...trace, action] };
      const key = keys.of(next.world);
      const before = first.get(key);
      if (before) {
        pairs++;
        if (whatFollows(before.world, course, keys) !== whatFollows(next.world, course, keys))
          return { pairs, differing: [before.trace, next.trace] };
      } else {
        first.set(key, next);
        found.push(next);
      }
    }
  }
  return { pairs };
}

/** What each action leads to that changes anything, and what breaks a promise. */
function whatFollows(world: World, course: Course, keys: Keys): string {
  const own = keys.of(world);
  const outcomes = new Set([outcome(() => void checkSettled(world, course))]);
  for (const action of actionsOf(world, course))
    outcomes.add(
      outcome(() => {
        const key = keys.of(after(world, action, course));
        return key === own ? "" : `${action[0]} ${key}`;
      }),
    );
  return [...outcomes].toSorted().join(";");
}

function outcome(happen: () => string | undefined): string {
  try {
    return happen() ?? "";
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    return error.message.replaceAll(/\d+/g, ""); // Messages and epochs have other numbers.
  }
}
