/** What may be published: text or bytes, and the rules of their media type. */
import { isUtf8 } from "node:buffer";
import type { Attributes } from "./attributes.ts";
import { DraftError } from "./draft-error.ts";
import { parseJson } from "./json.ts";
import { remembered } from "./remembered.ts";

export { DraftError };

/** Data that the messages of several topics share. The first that is kept holds it, until the last is dropped. */
export class SharedData {
  readonly #bytes: number;
  #holders = 0;

  /** @param bytes of the data */
  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /** A message is kept. @returns the bytes of its data that another message holds already */
  hold(): number {
    return this.#holders++ > 0 ? this.#bytes : 0;
  }

  /** A message is dropped. @returns the bytes of its data that another message still holds */
  release(): number {
    return --this.#holders > 0 ? this.#bytes : 0;
  }
}

/** A message before it is published. */
export interface Draft {
  readonly data: string | Uint8Array<ArrayBuffer>;
  /** A media type. Text is JSON only if this is a JSON type. */
  readonly contentType: string;
  readonly attributes?: Attributes | undefined;
  /** Set where other messages have the same `data`. */
  readonly shared?: SharedData | undefined;
}

/** The media type is kept with each message. */
const mediaTypeLengthMax = 255;

interface MediaType {
  /** The same text for all messages that name it, so that each keeps no text of its own. */
  readonly text: string;
  /** Without parameters and in small letters, also of a text that is no media type. */
  readonly essence: string;
  /** The kind of its data; undefined for a text that is no media type. */
  readonly kind: "json" | "text" | "binary" | undefined;
}

/** Each message asks for its type several times, and parsing takes a microsecond. */
const mediaTypeOf = remembered((text: string): MediaType => {
  const [, essence = ""] = /^\s*([^\s;]*)/.exec(text) ?? [];
  return { text, essence: essence.toLowerCase(), kind: kindOf(text) };
});

export const isMediaType = (text: string): boolean => mediaTypeOf(text).kind !== undefined;

export const isJson = (contentType: string): boolean => mediaTypeOf(contentType).kind === "json";

/** A media type without parameters and in small letters, such as `application/x-ndjson`. */
export const essenceOf = (contentType: string): string => mediaTypeOf(contentType).essence;

export function isText(contentType: string): boolean {
  const { kind } = mediaTypeOf(contentType);
  return kind === "text" || kind === "json";
}

function kindOf(contentType: string): MediaType["kind"] {
  // RFC 9110 section 8.3.1 as MIMEType reads it, which ignores bad characters in parameters; receivers may not.
  if (contentType.length > mediaTypeLengthMax || !/^[\x21-\x7e][\t\x20-\x7e]*$/.test(contentType))
    return undefined;
  const { MIMEType } = process.getBuiltinModule("node:util"); // Not at start, where it costs 3 ms.
  let type: InstanceType<typeof MIMEType>;
  try {
    type = new MIMEType(contentType);
  } catch {
    return undefined;
  }
  if (type.essence === "application/json" || type.subtype.endsWith("+json")) return "json";
  if (type.type === "text" || type.essence === "application/x-www-form-urlencoded") return "text";
  return "binary";
}

const utf8Encoder = new TextEncoder();

/**
 * Makes a draft of bytes and their media type.
 * @param contentType undefined means text
 * @throws {DraftError} for text that is not UTF-8, JSON that does not parse, and a malformed media type
 */
export function draftOf(bytes: Uint8Array<ArrayBuffer>, contentType: string | undefined): Draft {
  if (contentType === undefined) return { data: decode(bytes), contentType: "text/plain" };
  const { kind, text: type } = mediaTypeOf(contentType);
  if (kind === undefined) {
    throw new DraftError(
      `Content-Type must be a media type of at most ${mediaTypeLengthMax} characters, such as text/plain.`,
    );
  }
  if (kind === "binary") return { data: bytes, contentType: type };
  const text = decode(bytes);
  if (kind === "json") parseJson(text, `The body has the type ${type} and`);
  return { data: text, contentType: type };
}

/**
 * Makes a draft of a program's value.
 * @param contentType a media type; left out: text/plain for a string, application/octet-stream for bytes, else application/json
 * @throws {DraftError} as `draftOf`, and for a string that UTF-8 cannot carry
 * @throws {TypeError} for what is neither text, bytes nor JSON
 */
export function draftOfValue(
  value: string | ArrayBuffer | SharedArrayBuffer | ArrayBufferView | object,
  contentType: string | undefined,
): Draft {
  const bytes = typeof value === "object" && bytesOf(value);
  // Copied, because the program may change its own bytes later.
  if (bytes) return draftOf(new Uint8Array(bytes), contentType ?? "application/octet-stream");
  if (typeof value !== "string") return draftOfValue(jsonOf(value), contentType ?? "application/json");
  if (!value.isWellFormed())
    throw new DraftError("The text has half a surrogate pair, which UTF-8 cannot carry.");
  return draftOf(utf8Encoder.encode(value), contentType);
}

/** @returns undefined for what is not bytes */
function bytesOf(value: object): Uint8Array | undefined {
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return new Uint8Array(value);
  return undefined;
}

function jsonOf(value: object): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch (error) {
    throw new DraftError(`The value cannot be written as JSON: ${String(error)}`);
  }
  if (json === undefined)
    throw new TypeError(`The data is a ${typeof value}, which is neither text, bytes nor JSON.`);
  // JSON writes a Map, a Blob or a Promise as {}: what it holds would be lost in silence.
  if (json.includes("{}")) JSON.stringify(value, requireJsonForm);
  return json;
}

/** A replacer of JSON.stringify that changes nothing. @throws {TypeError} for an object of a class that JSON writes as {} */
function requireJsonForm(name: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  if (Object.keys(value).length > 0 || isPlain(value)) return value;
  const where = name === "" ? "The data is" : `The data has, as "${name}",`;
  throw new TypeError(
    `${where} a ${value.constructor.name}, which is neither text, bytes nor JSON. Publish what it holds.`,
  );
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function decode(bytes: Uint8Array): string {
  // A TextDecoder that checks takes eight times as long.
  if (isUtf8(bytes)) return Buffer.prototype.toString.call(bytes);
  throw new DraftError(
    "The body is not UTF-8. Send text as UTF-8, or bytes with a Content-Type such as application/octet-stream.",
  );
}
