/** The message that is being written for topics. */
import { signal } from "@preact/signals";

export const draft = signal("");
export const isJson = signal(false);

/** Topics to publish to in place of those in the form; empty for those. */
export const target = signal("");

/** CloudEvents attributes as typed: a type, and `name=value` words. */
export const attributeType = signal("");
export const attributeText = signal("");
export const ends = signal(false);

/** @returns undefined for words that are not `name=value` with a name of CloudEvents */
export function readAttributes(text: string): Record<string, string> | undefined {
  const attributes: Record<string, string> = {};
  for (const word of text.split(/\s+/)) {
    if (word === "") continue;
    const [, name, value] = /^([a-z0-9]{1,20})=(.+)$/.exec(word) ?? [];
    if (name === undefined || value === undefined) return undefined;
    attributes[name] = value;
  }
  return attributes;
}
