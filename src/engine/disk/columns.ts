/** Operations and messages, to the columns of protocol.ts and back. */
import { firstOf, type History, type Publication } from "../../topic/broker.ts";
import type { Draft } from "../../topic/draft.ts";
import type { End, Message, Position } from "../../topic/message.ts";
import type { Outcome } from "./outcomes.ts";
import type { HistoryColumns, Operation, OperationColumns } from "./protocol.ts";

export function columnsOf(operations: readonly Operation[]): OperationColumns {
  const columns: OperationColumns = {
    kinds: [],
    topics: [],
    counts: [],
    data: [],
    contentTypes: [],
    attributes: [],
    ends: [],
    onces: [],
    steps: [],
    writers: [],
  };
  for (const operation of operations) {
    const publication = operation.kind === "publish" ? operation.publication : undefined;
    const drafts = publication?.drafts ?? [];
    columns.kinds.push(operation.kind);
    columns.topics.push(operation.topic);
    columns.counts.push(drafts.length);
    for (const { data, contentType, attributes } of drafts) {
      columns.data.push(data);
      columns.contentTypes.push(contentType);
      columns.attributes.push(attributes === undefined ? null : JSON.stringify(attributes));
    }
    columns.ends.push(publication?.end ?? false);
    columns.onces.push(operation.kind === "takeStream" ? operation.once : publication?.once);
    columns.steps.push(publication?.step);
    columns.writers.push(operation.kind === "takeStream" ? operation.writer : undefined);
  }
  return columns;
}

export function historyOf(topic: string, columns: HistoryColumns): History {
  const { complete, isTrimmed, from, position, end, offsets, times, contentTypes, attributes, data } =
    columns;
  const messages = offsets.map((offset, index): Message => {
    const text = attributes[index];
    const draft = {
      data: data[index] ?? "",
      contentType: contentTypes[index] ?? "",
      ...(typeof text === "string" && { attributes: JSON.parse(text) }),
    };
    return { topic, epoch: position.epoch, offset, time: times[index] ?? 0, ...draft };
  });
  return { complete, isTrimmed, from, messages, position, ...(end && { end }) };
}

/** @param start the place of its first message in the columns of messages */
export function publicationAt(operations: OperationColumns, index: number, start: number): Publication {
  const { counts, ends, onces, steps } = operations;
  const once = onces[index];
  const step = steps[index];
  return {
    drafts: Array.from({ length: counts[index] ?? 0 }, (_, nth) => draftAt(operations, start + nth)),
    end: ends[index] ?? false,
    ...(once && { once }),
    ...(step && { step }),
  };
}

function draftAt({ data, contentTypes, attributes: texts }: OperationColumns, at: number): Draft {
  const attributes = texts[at];
  return {
    data: data[at] ?? "",
    contentType: contentTypes[at] ?? "",
    ...(typeof attributes === "string" && { attributes: JSON.parse(attributes) }),
  };
}

/** What is announced of a publication that was appended. */
export function* entriesOf(
  { topic, publication: { drafts } }: Extract<Operation, { kind: "publish" }>,
  { position, end, time = 0 }: Outcome,
): Generator<Message | End> {
  const { epoch, offset } = position ? firstOf(position, drafts.length) : { epoch: "", offset: 0 };
  for (const [index, draft] of drafts.entries())
    yield { topic, epoch, offset: offset + index, time, ...draft };
  if (end) yield endOf(topic, end, time);
}

export const endOf = (topic: string, position: Position, time: number): End => ({
  topic,
  ...position,
  time,
  isEnd: true,
});
