/** Where a reader of a keyed topic begins, in an engine on this machine. */
import type { Place, Position, Since } from "./message.ts";

/** What a keyed topic says of its past. */
export interface KeyedPast {
  /** That of its end where it has ended. */
  readonly position: Position;
  /** The offset of the last message before the end. */
  readonly lastMessageOffset: number;
  /** The offset of the newest removal that is forgotten, and when it was received; 0 and `-Infinity` where none is. */
  readonly floor: number;
  readonly forgottenTime: number;
  /** A time before it reaches into a past that the engine may not know, and is a gap. */
  readonly knownSinceTime: number;
  /** The offset before the last values. @param count of them */
  beforeLast(count: number): number;
  /** The offset before what was received at a time or later. */
  beforeTime(time: number): number;
}

/** A snapshot begins before the first value, and needs no removal from before its base. */
export function keyedStart(
  past: KeyedPast,
  since: Since,
): { readonly complete: boolean; readonly from: Place } {
  const { position, floor } = past;
  const { epoch } = position;
  const snapshot: Place = { epoch, offset: 0, base: past.lastMessageOffset };
  switch (since.kind) {
    case "all":
      return { complete: true, from: snapshot };
    case "last":
      return { complete: true, from: { ...snapshot, offset: past.beforeLast(since.count) } };
    case "position": {
      const { offset, base = offset } = since.position;
      // What a snapshot's reader lacks is complete while no removal after its beginning is forgotten.
      const read = Math.max(offset, base);
      const complete = since.position.epoch === epoch && read <= position.offset && read >= floor;
      return { complete, from: complete ? since.position : snapshot };
    }
    case "time": {
      const complete = past.forgottenTime < since.time && past.knownSinceTime <= since.time;
      return { complete, from: complete ? { epoch, offset: past.beforeTime(since.time) } : snapshot };
    }
    case "unknown":
      return { complete: false, from: snapshot };
  }
}
