/** Publishers at a steady rate, by HTTP and by socket; each message begins with its number in its topic. */
import { Inbox, within } from "../support/wait.ts";
import { apiKey, bearer, openEventSocket, repeat, type Stage } from "./stage.ts";

const everySeconds = 0.1;

/** Text of very different lengths. */
const textOf = ({ random }: Stage, number: number): string =>
  `${number} ${"x".repeat(random.chance(0.02) ? 16_384 : random.between(0, 400))}`;

/** @returns the id */
export async function publishByHttp(
  { server, tally }: Stage,
  topic: string,
  text: string,
  key?: string,
): Promise<string> {
  const response = await fetch(new URL(`/topics/${topic}`, server.url), {
    method: "POST",
    body: text,
    headers: { "Content-Type": "text/plain", ...bearer(apiKey), ...(key && { "Idempotency-Key": key }) },
  });
  const answer = await response.text();
  if (response.status !== 200) throw new Error(`publishing was answered ${response.status}: ${answer}`);
  tally.published++;
  return JSON.parse(answer).published[0].id;
}

/** Repeats some requests with their key, like a publisher that got no answer. */
export async function publishOverHttp(stage: Stage, topic: string): Promise<void> {
  let number = 0;
  await repeat(stage, `publishing to ${topic}`, everySeconds, async () => {
    const text = textOf(stage, ++number);
    if (number % 10 !== 0) {
      await publishByHttp(stage, topic, text);
      return;
    }
    const key = crypto.randomUUID();
    const first = await publishByHttp(stage, topic, text, key);
    const second = await publishByHttp(stage, topic, text, key);
    if (first === second) stage.tally.repeated++;
    else stage.tally.fault(`a repeated publication to ${topic} got ${second}, the first ${first}`);
  });
}

/** Waits for its own message before it sends the next: that is its receipt. */
export async function publishOverSocket(stage: Stage, topic: string): Promise<void> {
  const { server, tally } = stage;
  const socket = openEventSocket(server.socketUrl(`/topics/${topic}`), apiKey);
  const events = new Inbox<{ type: string; data: string }>();
  const over = Promise.withResolvers<void>();
  socket.onmessage = ({ data }) => events.put(JSON.parse(String(data)));
  socket.onclose = () => over.resolve();
  await events.take("longwire.open");
  let number = 0;
  await repeat(stage, `publishing to ${topic}`, everySeconds, async () => {
    const data = textOf(stage, ++number);
    const event = { specversion: "1.0", type: "soak", datacontenttype: "text/plain", data };
    socket.send(JSON.stringify(event));
    const receipt = await events.take(`the receipt of message ${number} of ${topic}`);
    if (receipt.data !== data) throw new Error(`the receipt of message ${number} is another`);
    tally.published++;
  });
  socket.close();
  await within(over.promise, "a publisher's socket to close");
}
