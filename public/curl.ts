/** Shell commands that do the same as the topics panel: a topic is a URL, and curl is a client. */

export const jsonType = "application/json";

export function subscribeCommand(url: URL): string {
  return `curl -N -H 'Accept: text/event-stream' ${word(url.href)}`;
}

/** A longer text is taken from a file. */
const typedCharactersMax = 1000;

export function publishCommand(url: URL, text: string, asJson: boolean): string {
  return `curl ${body(text, asJson)} ${word(url.href)}`;
}

function body(text: string, asJson: boolean): string {
  if (text.length > typedCharactersMax) return asJson ? "--json @message.json" : "--data-binary @message.txt";
  if (!text.startsWith("@")) return `${asJson ? "--json" : "-d"} ${quoted(text)}`;
  // In every other option an @ names a file.
  return `${asJson ? `-H 'Content-Type: ${jsonType}' ` : ""}--data-raw ${quoted(text)}`;
}

/** `?` and `[` are patterns in a shell, and zsh refuses a pattern that matches no file. */
function word(text: string): string {
  return /^[\w@%+=:,./~-]+$/.test(text) ? text : quoted(text);
}

/** In single quotes: POSIX, Shell Command Language, section 2.2.2. Only the quote itself needs escaping. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
