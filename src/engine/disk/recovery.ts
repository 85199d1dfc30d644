/** The start: what was committed and not merged, from `batch` into memory. */
import type { DataFile } from "./data-file.ts";
import { type Entries, entryKinds, hasPlace } from "./entry.ts";
import type { KeyTable, StoredRecord } from "./key-table.ts";
import type { Moment } from "./protocol.ts";
import { DamagedData } from "./schema.ts";
import type { DiskTopic, TopicTable } from "./topic-table.ts";
import type { Unmerged } from "./unmerged.ts";

export interface RecoveryParts {
  readonly file: DataFile;
  readonly topics: TopicTable;
  readonly keys: KeyTable;
  readonly into: Unmerged;
}

const decoder = new TextDecoder();

/** @throws {DamagedData} */
export function recover({ file, topics, keys, into }: RecoveryParts, moment: Moment): void {
  for (const { seq, time, entries } of file.batches()) {
    for (const at of entries.places()) {
      const kind = entries.kindAt(at);
      if (kind === entryKinds.record) {
        const stored = JSON.parse(decoder.decode(entries.dataAt(at))) as StoredRecord;
        keys.keep(stored, entries.receivedAt(at), moment);
      } else if (hasPlace(kind)) {
        const topic = topics.byId(entries.topicAt(at));
        // A slice has merged it before the server ended.
        if (!topic || isMerged(topic, entries, at)) entries.setKindAt(at, entryKinds.void);
        else apply(topic, entries, at);
      }
    }
    into.add(seq, entries, time, (id) => topics.byId(id));
  }
}

function isMerged({ merged }: DiskTopic, entries: Entries, at: number): boolean {
  const kind = entries.kindAt(at);
  if (kind === entryKinds.use) return false;
  return kind === entryKinds.end ? merged.ended === 1 : entries.offsetAt(at) <= merged.last;
}

function apply(topic: DiskTopic, entries: Entries, at: number): void {
  const kind = entries.kindAt(at);
  const offset = entries.offsetAt(at);
  const received = entries.receivedAt(at);
  topic.used = Math.max(topic.used, received);
  if (kind === entryKinds.use) return;
  if (offset !== topic.last + 1)
    throw new DamagedData(`a batch with message ${offset} of topic "${topic.name}"`);
  topic.time = entries.timeAt(at);
  if (kind === entryKinds.end) topic.ended = 1;
  else topic.last = offset;
  if (kind !== entryKinds.passed) return;
  topic.dropped = offset;
  topic.droppedTime = received;
}
