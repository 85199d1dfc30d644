/** The names that a topic can have: the rules of docs/protocol.md, in the page to show faults in its language. */

export type TopicNameFault = "empty" | "long" | "emptyPart" | "dots" | "characters" | "form";

const topicNameLengthMax = 200;

/** In UTF-8. */
const topicNameBytesMax = 600;

/** @returns what is wrong with the name, or undefined */
export function faultOfTopicName(name: string): TopicNameFault | undefined {
  if (name === "") return "empty";
  if ([...name].length > topicNameLengthMax || new TextEncoder().encode(name).length > topicNameBytesMax)
    return "long";
  const parts = name.split("/");
  if (!parts.every((part) => /^[\p{L}\p{M}\p{N}._~:-]*$/u.test(part))) return "characters";
  if (parts.includes("")) return "emptyPart";
  if (parts.includes(".") || parts.includes("..")) return "dots";
  if (name.normalize("NFC") !== name) return "form";
  return undefined;
}
