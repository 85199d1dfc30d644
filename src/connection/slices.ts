/** Work that grows with the number of connections, spread over turns of the event loop. */
import { nextTurn } from "../next-turn.ts";

/** Calls `act` for each item, for at most `perTurnMax` of them in one turn of the event loop. */
export async function inSlices<Item>(
  items: Iterable<Item>,
  perTurnMax: number,
  act: (item: Item) => void,
): Promise<void> {
  let left = perTurnMax;
  for (const item of items) {
    if (left === 0) {
      await nextTurn();
      left = perTurnMax;
    }
    left--;
    act(item);
  }
}
