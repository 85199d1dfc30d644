/** The names that a topic can have: the rules of docs/protocol.md, in the page to show faults in its language. */

export type TopicNameFault = "empty" | "long" | "emptyPart" | "dots" | "characters";

const topicNameLengthMax = 200;

/** @returns what is wrong with the name, or undefined */
export function faultOfTopicName(name: string): TopicNameFault | undefined {
  if (name === "") return "empty";
  if (name.length > topicNameLengthMax) return "long";
  const parts = name.split("/");
  if (!parts.every((part) => /^[A-Za-z0-9._~:-]*$/.test(part))) return "characters";
  if (parts.includes("")) return "emptyPart";
  if (parts.includes(".") || parts.includes("..")) return "dots";
  return undefined;
}
