/** What others may see of a member: `true`, or an object that is small as JSON. */
import { memberInfoBytesMax } from "./presence.ts";

/** Whether a claim, or the answer of an application, asks for no member. */
export const isNoMember = (member: unknown): boolean =>
  member === undefined || member === null || member === false;

/** @returns the info as JSON; undefined for what is neither `true` nor an object */
export function jsonOfInfo(info: unknown): string | undefined {
  if (info === true) return "true";
  if (typeof info !== "object" || info === null || Array.isArray(info)) return undefined;
  const json = JSON.stringify(info);
  return json?.startsWith("{") ? json : undefined; // A Date is an object, and text as JSON.
}

/** @param json what `jsonOfInfo` gives @returns what is wrong with it, or nothing */
export function faultOfInfo(json: string): string | undefined {
  const bytes = Buffer.byteLength(json);
  if (bytes <= memberInfoBytesMax) return undefined;
  return `What a member shows has at most ${memberInfoBytesMax} bytes as JSON; this has ${bytes}.`;
}
