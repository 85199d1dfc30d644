/** CloudEvents attributes that a message carries beside its data. */
import { DraftError } from "./draft-error.ts";
import { ownText } from "./owned-text.ts";

/**
 * The attributes of a message by name: `type`, `subject`, `dataschema`, extensions, `traceparent` and `tracestate`, and
 * those that the server stamps: `authtype` and `authid`, and in a feed `origin` and `originid`. Plain data, so that an engine may keep it as JSON.
 * @example { type: "content_block_delta", partitionkey: "7", authtype: "app_user" }
 */
export type Attributes = Readonly<Record<string, AttributeValue>>;

/** The types of the CloudEvents JSON format that an attribute may have here. A number is a 32-bit integer. */
export type AttributeValue = string | boolean | number;

/** Attributes that a repetition of a publication may have with other values: its trace, and what the server stamps. */
const notRepeated: ReadonlySet<string> = new Set(["traceparent", "tracestate", "authtype", "authid"]);

/** The type of a message whose publisher gave none. */
export const messageType = "longwire.message";

/** Attributes of one message, and the bytes of their names and values. A header of more is no longer a small one. */
const attributesMax = 20;
const attributesBytesMax = 1024;

/** Attributes that every SDK sends and that the message gets from the server, and those that only the server can know. */
const ignored: ReadonlySet<string> = new Set([
  "specversion",
  "id",
  "source",
  "time",
  "topic",
  "datacontenttype",
  "authtype",
  "authid",
  "origin",
  "originid",
]);

/** The attributes that CloudEvents 1.0 itself defines, and that are kept. */
const mustBeText: ReadonlySet<string> = new Set(["type", "subject", "dataschema"]);

/**
 * The attributes that a publisher may set, of those that it sent.
 * @param sent by name. `null` counts as left out (CloudEvents JSON format, section 2.1)
 * @returns undefined for none
 * @throws {DraftError} for a name, a type or a value that a message cannot have
 * @example readAttributes({ type: "token", id: "7", x: 1 }) // { type: "token", x: 1 }
 */
export function readAttributes(sent: Readonly<Record<string, unknown>>): Attributes | undefined {
  const attributes: Record<string, AttributeValue> = {};
  let count = 0;
  for (const [name, value] of Object.entries(sent)) {
    if (ignored.has(name) || value === null || value === undefined) continue;
    attributes[name] = readAttribute(name, value);
    count++;
  }
  if (attributes.type === messageType) {
    delete attributes.type;
    count--;
  }
  if (count > attributesMax) throw new DraftError(`A message has at most ${attributesMax} attributes.`);
  if (bytesOfAttributes(attributes) > attributesBytesMax)
    throw new DraftError(`The attributes of a message have at most ${attributesBytesMax} bytes together.`);
  return count > 0 ? attributes : undefined;
}

function readAttribute(name: string, value: unknown): AttributeValue {
  if (!/^[a-z0-9]+$/.test(name) || name === "data")
    throw new DraftError(`"${name}" is no name of an attribute: it has only a-z and 0-9, and is not "data".`);
  if (mustBeText.has(name) && typeof value !== "string")
    throw new DraftError(`The attribute "${name}" must be a string.`);
  if (typeof value === "boolean") return value;
  if (typeof value === "number") {
    if (Number.isInteger(value) && Math.abs(value + 0.5) < 2 ** 31) return value;
    throw new DraftError(`The attribute "${name}" must be a whole number of 32 bits.`);
  }
  if (typeof value !== "string")
    throw new DraftError(`The attribute "${name}" must be a string, a boolean or a whole number.`);
  const fault = faultOfText(name, value);
  if (fault !== undefined) throw new DraftError(`The attribute "${name}" ${fault}.`);
  return ownText(value);
}

/** CloudEvents 1.0, section "Type System": no control character, no half of a surrogate pair. */
function faultOfText(name: string, value: string): string | undefined {
  if (/\p{Cc}/u.test(value)) return "has a control character";
  if (!value.isWellFormed()) return "has half a surrogate pair, which UTF-8 cannot carry";
  if (name !== "type") return undefined;
  if (value === "") return "is empty";
  // Otherwise a publisher could make what only the server reports, such as a gap or an end, or what a reader takes for it.
  if (/^\s|\s$|\p{Default_Ignorable_Code_Point}/u.test(value))
    return "begins or ends with a space, or has a character that cannot be seen";
  if (value.startsWith("longwire.") && value !== messageType)
    return 'must not begin with "longwire.", except "longwire.message"';
  return undefined;
}

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
export function repeatedAttributes(attributes: Attributes): [string, AttributeValue][] {
  const repeated: [string, AttributeValue][] = [];
  for (const name in attributes)
    if (!notRepeated.has(name)) repeated.push([name, attributes[name] as AttributeValue]);
  return repeated.sort(([one], [other]) => (one < other ? -1 : 1));
}
