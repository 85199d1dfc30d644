/** What the page does, as commands for a shell: a topic is a URL, and curl is a client. */

export const jsonType = "application/json";

export function subscribeCommand(url: URL): string {
  return `curl -N -H 'Accept: text/event-stream' ${word(url.href)}`;
}

/** A text longer than that is not for a command line. */
const typedCharactersMax = 1000;

export function publishCommand(url: URL, text: string, asJson: boolean): string {
  return `curl ${body(text, asJson)} ${word(url.href)}`;
}

function body(text: string, asJson: boolean): string {
  if (text.length > typedCharactersMax) return asJson ? "--json @message.json" : "--data-binary @message.txt";
  if (!text.startsWith("@")) return `${asJson ? "--json" : "-d"} ${quoted(text)}`;
  // Everywhere else an @ names a file.
  return `${asJson ? `-H 'Content-Type: ${jsonType}' ` : ""}--data-raw ${quoted(text)}`;
}

/** `?` and `[` are patterns to a shell, and zsh refuses those that match no file. */
function word(text: string): string {
  return /^[\w@%+=:,./~-]+$/.test(text) ? text : quoted(text);
}

/** As POSIX writes it (Shell Command Language, section 2.2.2): everything but the quote itself stands for itself. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
