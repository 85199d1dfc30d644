/** The same as the topics panel in a shell and in programs. */
export type Dialect = "curl" | "socket" | "eventSource" | "client" | "python";

export const dialects: readonly Dialect[] = ["curl", "socket", "eventSource", "client", "python"];

/** W3C Trace Context has headers of its own. */
export function headerOf(attribute: string): string {
  return attribute.startsWith("trace") ? attribute : `ce-${attribute}`;
}

/** What is on the screen. */
export interface Scene {
  readonly topics: readonly string[];
  /** Addresses for each use, without a `since`. */
  readonly http: URL;
  readonly socket: URL;
  /** Where the next connection continues; empty for from now on. */
  readonly since: string;
  readonly text: string;
  readonly isJson: boolean;
  readonly attributes: Readonly<Record<string, string>>;
  readonly ends: boolean;
  /** Whether the server is used with a token, which is never written out. */
  readonly hasToken: boolean;
}

/** A longer text is taken from a file. */
const typedCharactersMax = 1000;

export function subscribeCode(dialect: Dialect, scene: Scene): string {
  const http = withSince(scene.http, scene);
  switch (dialect) {
    case "curl": {
      const several = scene.topics.length > 1;
      const url = several ? withQuery(http, "format", "cloudevents") : http;
      return `curl -N -H 'Accept: text/event-stream' ${curlToken(scene)}${shellWord(url.href)}`;
    }
    case "socket":
      return socketCode(scene);
    case "eventSource": {
      const url = withQuery(http, "format", "cloudevents");
      return [
        scene.hasToken ? "// A browser's EventSource sends no header: use a cookie (--token-cookie)." : "",
        `const source = new EventSource(${script(url.href)});`,
        "source.onmessage = ({ data, lastEventId }) => console.log(lastEventId, JSON.parse(data));",
        "// It reconnects by itself, and sends the last id that it saw.",
      ]
        .filter((line) => line !== "")
        .join("\n");
    }
    case "client":
      return clientCode(scene);
    case "python":
      return pythonCode(scene);
  }
}

export function publishCode(dialect: Dialect, scene: Scene): string {
  const url = scene.ends ? withQuery(scene.http, "end", "") : scene.http;
  if (dialect === "curl")
    return `curl ${curlToken(scene)}${curlHeaders(scene)}${curlBody(scene)} ${shellWord(url.href)}`;
  const headers = headersOf(scene);
  if (dialect === "python")
    return [
      "import urllib.request",
      `request = urllib.request.Request(${script(url.href)}, data=${script(scene.text)}.encode(), headers=${python(headers)})`,
      "print(urllib.request.urlopen(request).read().decode())",
    ].join("\n");
  return [
    `const answer = await fetch(${script(url.href)}, {`,
    `  method: "POST", headers: ${script(headers)},`,
    `  body: ${script(scene.text)},`,
    "});",
    "console.log((await answer.json()).published);",
  ].join("\n");
}

function socketCode(scene: Scene): string {
  const protocols = scene.hasToken ? '["cloudevents.json", "bearer." + token]' : '"cloudevents.json"';
  return [
    `const url = new URL(${script(scene.socket.href)});`,
    `const ids = ${scene.since === "" ? "{}" : script(idsOf(scene))}; // Of the last message of each topic.`,
    "function connect() {",
    `  const topics = ${script(scene.topics)};`,
    '  if (Object.keys(ids).length > 0) url.searchParams.set("since", topics.map((topic) => ids[topic] ?? "-").join());',
    `  const socket = new WebSocket(url, ${protocols});`,
    "  socket.onmessage = ({ data }) => {",
    "    const event = JSON.parse(data);",
    '    if (event.type === "longwire.open") for (const { topic, id } of event.data.topics) ids[topic] = id;',
    '    else if (event.type === "longwire.gap") ids[event.data.topic] = event.data.from; // Told, not silent.',
    "    else if (event.topic) { console.log(event.topic, event.data); ids[event.topic] = event.id; }",
    "  };",
    "  socket.onclose = ({ code, reason }) => {",
    '    if (reason !== "ended" && ![4401, 4403].includes(code)) setTimeout(connect, 500 + Math.random() * 1000);',
    "  };",
    "}",
    "connect();",
  ].join("\n");
}

function clientCode(scene: Scene): string {
  const { http, hasToken } = scene;
  const base = http.href.slice(0, http.href.indexOf("topics/"));
  return [
    `import { follow } from ${script(`${base}client.js`)}; // Or from "longwire/client".`,
    `follow(${script(withSince(http, scene).href)}, {`,
    "  onMessage: ({ topic, id, data }) => console.log(topic, id, data),",
    '  onGap: ({ topic, from }) => console.log("messages are missing before", topic, from),',
    ...(hasToken ? ["  token: () => token,"] : []),
    "});",
  ].join("\n");
}

function pythonCode(scene: Scene): string {
  const url = withQuery(withSince(scene.http, scene), "format", "cloudevents");
  const headers = {
    Accept: "text/event-stream",
    ...(scene.hasToken ? { Authorization: "Bearer <token>" } : {}),
  };
  return [
    "import json, urllib.request",
    `request = urllib.request.Request(${script(url.href)}, headers=${python(headers)})`,
    "for line in urllib.request.urlopen(request):",
    '    if line.startswith(b"data:"):',
    "        print(json.loads(line[5:]))",
  ].join("\n");
}

function idsOf({ topics, since }: Scene): Record<string, string> {
  const values = since.split(",");
  return Object.fromEntries(topics.map((topic, index) => [topic, values[index] ?? since]));
}

function headersOf({ isJson, attributes, hasToken }: Scene): Record<string, string> {
  return {
    "Content-Type": isJson ? "application/json" : "text/plain",
    ...Object.fromEntries(Object.entries(attributes).map(([name, value]) => [headerOf(name), value])),
    ...(hasToken ? { Authorization: "Bearer <token>" } : {}),
  };
}

const curlToken = ({ hasToken }: Scene): string => (hasToken ? '-H "Authorization: Bearer $TOKEN" ' : "");

function curlHeaders({ attributes }: Scene): string {
  const headers = Object.entries(attributes).map(
    ([name, value]) => `-H ${quoted(`${headerOf(name)}: ${value}`)} `,
  );
  return headers.join("");
}

function curlBody({ text, isJson }: Scene): string {
  if (text.length > typedCharactersMax) return isJson ? "--json @message.json" : "--data-binary @message.txt";
  if (!text.startsWith("@")) return `${isJson ? "--json" : "-d"} ${quoted(text)}`;
  // In every other option an @ names a file.
  return `${isJson ? "-H 'Content-Type: application/json' " : ""}--data-raw ${quoted(text)}`;
}

function withSince(url: URL, { since }: Scene): URL {
  return since === "" ? url : withQuery(url, "since", since);
}

function withQuery(url: URL, name: string, value: string): URL {
  const changed = new URL(url);
  changed.searchParams.set(name, value);
  changed.search = changed.search.replaceAll("%2C", ",");
  return changed;
}

const script = (value: unknown): string => JSON.stringify(value);

/** A dictionary of texts is written in the same way. */
const python = script;

/** `?` and `[` are patterns in a shell, and zsh refuses a pattern that matches no file. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./~-]+$/.test(text) ? text : quoted(text);
}

/** In single quotes: POSIX, Shell Command Language, section 2.2.2. Only the quote itself needs escaping. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
