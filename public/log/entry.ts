/** One entry of a log, and how it is written. */

/** `complete`: nothing is missing; `gap`: messages are gone; `error`: something failed. */
export type EntryKind = "sent" | "received" | "note" | "complete" | "gap" | "error";

export const entryKinds: readonly EntryKind[] = ["sent", "received", "note", "complete", "gap", "error"];

export type Data = string | ArrayBuffer;

export interface Entry {
  readonly kind: EntryKind;
  /** Milliseconds since 1970: of a received message on a topic the publisher's time, else when it was logged. */
  readonly time: number;
  readonly data: Data;
  readonly topic?: string;
  /** `<epoch>-<offset>`. Of a sent message it is known once the server has answered. */
  id?: string;
  readonly type?: string;
  readonly contentType?: string;
  readonly attributes?: Readonly<Record<string, string>>;
  /** It was published before this connection asked for it. */
  readonly isReplayed?: boolean;
  readonly roundTripMilliseconds?: number;
  /** Of a sent message that was refused, or whose outcome is unknown. */
  failure?: string;
}

/** The offset counts up. The epoch is mostly the same for all messages of a topic. */
export function offsetOf(id: string): string {
  return id.slice(id.lastIndexOf("-") + 1);
}

/** Bytes of one row of `hexRows`. */
const rowBytes = 16;

/** `48 c3 a9`. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** Offset, hex and ASCII of each 16 bytes, as `hexdump -C` writes them. */
export function hexRows(bytes: Uint8Array): string {
  const rows: string[] = [];
  for (let start = 0; start < bytes.length; start += rowBytes) {
    const row = bytes.subarray(start, start + rowBytes);
    const ascii = Array.from(row, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "."));
    rows.push(`${start.toString(16).padStart(8, "0")}  ${hex(row).padEnd(rowBytes * 3)} ${ascii.join("")}`);
  }
  return rows.join("\n");
}

/** A line of NDJSON. */
export function entryAsJson({ kind, time, data, ...rest }: Entry): string {
  const content =
    typeof data === "string" ? { data } : { data_base64: new Uint8Array(data).toBase64?.() ?? base64(data) };
  return JSON.stringify({ kind, time: new Date(time).toISOString(), ...rest, ...content });
}

/** For a browser without `Uint8Array.prototype.toBase64`. */
function base64(data: ArrayBuffer): string {
  return btoa(Array.from(new Uint8Array(data), (byte) => String.fromCharCode(byte)).join(""));
}
