/** The load of lines: connections that each POST a body of many JSON lines, one body after the other. */
import { HttpLine, postRequest } from "./http-line.ts";
import { Load, type LoadFigures, type LoadTimes, type Target } from "./load.ts";

export interface LinesLoad extends LoadTimes {
  readonly connections: number;
  readonly linesPerBody: number;
}

/** 60 bytes, as a token of a language model is. */
const line = `${JSON.stringify({ type: "token", text: "x".repeat(34) })}\n`;

const readySecondsMax = 60;

/** An item of its figures is a line. */
export async function runLinesLoad(server: Target, linesLoad: LinesLoad): Promise<LoadFigures> {
  const { connections, linesPerBody } = linesLoad;
  await whenReady(server);
  const load = new Load();
  const headers = { "Content-Type": "application/x-ndjson" };
  const body = line.repeat(linesPerBody);
  const opened = await Promise.all(
    Array.from({ length: connections }, async (_, index) => {
      const request = postRequest({ port: server.port, path: `/topics/lines/${index}`, body, headers });
      let sentAt = 0;
      const send = (): void => {
        sentAt = performance.now();
        http.send(request);
      };
      const answered = (): void => {
        load.items += linesPerBody;
        load.latencies?.add(performance.now() - sentAt);
        send();
      };
      const http = await HttpLine.open(server.port, answered, load.fail);
      return { http, send };
    }),
  );
  try {
    for (const { send } of opened) send();
    return await load.measure(server.pid, linesLoad);
  } finally {
    for (const { http } of opened) http.end();
  }
}

/** A server listens before its engine can be used. */
async function whenReady({ port }: Target): Promise<void> {
  const deadline = Date.now() + readySecondsMax * 1000;
  while (!(await fetch(`http://127.0.0.1:${port}/readyz`)).ok) {
    if (Date.now() > deadline) throw new Error(`the server at port ${port} is not ready`);
    await Bun.sleep(20);
  }
}
