/** Operations and messages, to the columns of protocol.ts and back. */
import type { History, Publication } from "../../topic/broker.ts";
import type { End, Message, Position } from "../../topic/message.ts";
import type { HistoryColumns, Operation, OperationColumns } from "./protocol.ts";

export function columnsOf(operations: readonly Operation[]): OperationColumns {
  const columns: OperationColumns = {
    kinds: [],
    topics: [],
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
    const attributes = publication?.draft?.attributes;
    columns.kinds.push(operation.kind);
    columns.topics.push(operation.topic);
    columns.data.push(publication?.draft?.data);
    columns.contentTypes.push(publication?.draft?.contentType ?? "");
    columns.attributes.push(attributes === undefined ? null : JSON.stringify(attributes));
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

export function publicationAt(operations: OperationColumns, index: number): Publication {
  const data = operations.data[index];
  const attributes = operations.attributes[index];
  const once = operations.onces[index];
  const step = operations.steps[index];
  const draft = data !== undefined && {
    data,
    contentType: operations.contentTypes[index] ?? "",
    ...(typeof attributes === "string" && { attributes: JSON.parse(attributes) }),
  };
  return {
    end: operations.ends[index] ?? false,
    ...(draft && { draft }),
    ...(once && { once }),
    ...(step && { step }),
  };
}

export const endOf = (topic: string, position: Position, time: number): End => ({
  topic,
  ...position,
  time,
  isEnd: true,
});
