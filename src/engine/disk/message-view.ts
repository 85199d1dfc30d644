/** The view `message`: it takes entries apart in SQL, so that every program that reads SQLite can read the messages. */

/** The value of a byte: SQL has no function for it, but finds its place in a text of all bytes. */
const allBytes = `x'${Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0")).join("")}'`;

const byteAt = (at: string): string => `(instr(${allBytes}, substr(entries, ${at}, 1)) - 1)`;

/** A little-endian number of so many bytes, `offset` bytes behind the beginning of the entry. */
const numberAt = (offset: number, bytes: number): string =>
  Array.from({ length: bytes }, (_, place) => `(${byteAt(`at + ${offset + place}`)} << ${8 * place})`).join(
    " | ",
  );

const length = `(${numberAt(0, 4)})`;

/** `at` is the place of an entry, which SQL counts from 1. */
export const messageView = `
  CREATE VIEW message AS
    WITH RECURSIVE
      run (topic, merged, entries) AS (
        SELECT topic, 0, entries FROM segment UNION ALL SELECT 0, 1, entries FROM batch
        UNION ALL SELECT topic, 2, entry FROM keyed),
      entry (entries, merged, at) AS (
        SELECT entries, merged, 1 FROM run WHERE length(entries) > 0
        UNION ALL
        SELECT entries, merged, at + ${length} FROM entry WHERE ${length} > 0 AND at + ${length} <= length(entries)),
      part (entries, merged, at, length, kind, type_bytes, attributes_bytes, topic, offset, time, received) AS (
        SELECT entries, merged, at, ${length}, ${numberAt(4, 1)}, ${numberAt(6, 2)}, ${numberAt(8, 4)},
          ${numberAt(12, 6)}, ${numberAt(20, 7)}, ${numberAt(28, 6)}, ${numberAt(36, 6)} FROM entry)
    SELECT topic.name AS topic, part.offset, part.time, part.received,
        CAST(substr(entries, at + 44, type_bytes) AS TEXT) AS content_type,
        nullif(CAST(substr(entries, at + 44 + type_bytes, attributes_bytes) AS TEXT), '') AS attributes,
        CASE kind WHEN 1 THEN CAST(substr(entries, at + 44 + type_bytes + attributes_bytes,
            length - 44 - type_bytes - attributes_bytes) AS TEXT)
          ELSE substr(entries, at + 44 + type_bytes + attributes_bytes,
            length - 44 - type_bytes - attributes_bytes) END AS data
      FROM part JOIN topic ON topic.id = part.topic
      WHERE kind IN (1, 2) AND (merged = 2
        OR (part.offset > topic.dropped AND (merged = 0 OR part.offset > topic.last)));
  `;
