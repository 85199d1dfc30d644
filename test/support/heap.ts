/** Memory of this process that JavaScriptCore counts exactly. */
import { heapStats } from "bun:jsc";

/** Strings and buffers, apart from objects. */
export const outsideHeapBytes = (): number => collected().extraMemorySize;

/** Objects, strings and buffers. */
export function heldHeapBytes(): number {
  const { heapSize, extraMemorySize } = collected();
  return heapSize + extraMemorySize;
}

/** More than once: what a collection finalizes may have been the last to hold something else. */
function collected(): ReturnType<typeof heapStats> {
  for (let count = 0; count < 3; count++) Bun.gc(true);
  return heapStats();
}
