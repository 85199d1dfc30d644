/** Server-sent events by `fetch`: unlike `EventSource` it can send a token in a header, and shows the status of a refusal. */
import { tokenHeaders } from "./address.ts";
import { refusalOf } from "./requests.ts";

/**
 * Yields the data of each event, in batches as they arrive; a batch is empty for a comment.
 * @param asksForToken whether a 401 opens the field for a token
 * @throws Refusal for an answer other than 200; what `fetch` throws if the connection is lost
 */
export async function* serverSentEvents(
  url: URL,
  signal: AbortSignal,
  asksForToken = true,
): AsyncGenerator<string[], void> {
  const headers = { Accept: "text/event-stream", ...tokenHeaders() };
  const answer = await fetch(url, { headers, signal, cache: "no-store" });
  if (answer.status === 204) return;
  if (!answer.ok || !answer.body) throw await refusalOf(answer, asksForToken);
  yield [];
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return; // An event without its blank line is incomplete, and left out.
    text += value;
    const end = text.lastIndexOf("\n\n");
    if (end === -1) continue;
    const events = text.slice(0, end).split("\n\n").map(dataOf);
    text = text.slice(end + 2);
    yield events.filter((data) => data !== undefined);
  }
}

/** HTML, section 9.2.6: several `data:` lines are one text. An event with a name is none that the page reads. */
function dataOf(event: string): string | undefined {
  const fields = event.split("\n");
  const lines = fields.filter((line) => line.startsWith("data:"));
  return lines.length === 0 || fields.some((line) => line.startsWith("event:"))
    ? undefined
    : lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
}
