/** CloudEvents attributes that a message carries beside its data. */

/**
 * The attributes of a message by name: `type`, `subject`, `dataschema`, extensions, `traceparent` and `tracestate`, and
 * those that the server stamps: `authtype` and `authid`. Plain data, so that an engine may keep it as JSON.
 * @example { type: "content_block_delta", partitionkey: "7", authtype: "app_user" }
 */
export type Attributes = Readonly<Record<string, AttributeValue>>;

/** The types of the CloudEvents JSON format that an attribute may have here. A number is a 32-bit integer. */
export type AttributeValue = string | boolean | number;

/** Attributes that a repetition of a publication may have with other values: its trace, and what the server stamps. */
const notRepeated: ReadonlySet<string> = new Set(["traceparent", "tracestate", "authtype", "authid"]);

/** The bytes of names and values, and of the objects around them. Counted in retention. */
export function bytesOfAttributes(attributes: Attributes): number {
  let bytes = 0;
  for (const name in attributes) {
    const value = attributes[name];
    bytes += name.length + (typeof value === "string" ? Buffer.byteLength(value) : 8);
  }
  return bytes;
}

/** The attributes that a repetition must repeat, in one order whatever the order of `attributes` is. */
export const repeatedAttributes = (attributes: Attributes): [string, AttributeValue][] =>
  Object.entries(attributes)
    .filter(([name]) => !notRepeated.has(name))
    .sort(([one], [other]) => (one < other ? -1 : 1));
