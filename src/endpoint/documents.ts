/** What the server says about itself without a browser: text at /, /llms.txt, /docs, /openapi.json and /asyncapi.json. */
import { version } from "../../package.json";
import type { Access } from "../access/access.ts";
import { isNamedInAccept } from "../http/accept.ts";
import { methods } from "../http/methods.ts";
import type { Proxies } from "../http/proxies.ts";
import type { Handler, RequestContext } from "../http/request-context.ts";

/** What the documents need of the server. */
export interface SummaryDeps {
  readonly access: Pick<Access, "isOpen">;
  readonly proxies: Pick<Proxies, "targetOf">;
}

export interface DocumentsDeps extends SummaryDeps {
  /** What a browser gets at / and at /docs. */
  readonly pages: Readonly<Record<"/" | "/docs", Handler>>;
}

/** They name the host that the client used, so its commands can be copied. Each file is read at its first request. */
export function documentHandlers(deps: DocumentsDeps) {
  const text = (type: string, write: (origin: string) => string | Promise<string>): Handler =>
    methods({
      GET: async (context) => {
        const headers = { "Content-Type": `${type}; charset=utf-8`, "Cache-Control": "no-cache" };
        return new Response(await write(originOf(deps, context)), { headers });
      },
    });
  const front = pageOrText(
    deps.pages["/"],
    text("text/plain", (origin) => halfAScreen(origin, deps)),
  );
  return {
    "/": front,
    "/longconnecthtml": front,
    "/llms.txt": text("text/plain", (origin) => summary(origin, deps)),
    "/docs": pageOrText(deps.pages["/docs"], text("text/markdown", protocol)),
    "/openapi.json": text("application/json", openApi),
    "/asyncapi.json": text("application/json", asyncApi),
  };
}

/** A browser names text/html; curl and programs send a range of all types, or nothing. */
function pageOrText(page: Handler, text: Handler): Handler {
  return async (context) => {
    const handler = isNamedInAccept(context.request, "text/html") ? page : text;
    const answer = await handler(context);
    answer?.headers.append("Vary", "Accept");
    return answer;
  };
}

function originOf({ proxies }: SummaryDeps, context: RequestContext): string {
  const { host, isSecure } = proxies.targetOf(context);
  return `${isSecure ? "https" : "http"}://${host}`;
}

const commandsOf = (origin: string, { access: { isOpen } }: SummaryDeps) => {
  const token = isOpen ? "" : " -H 'Authorization: Bearer <token>'";
  return {
    follow: `curl -N -H 'Accept: text/event-stream'${token} ${origin}/topics/news`,
    publish: `curl -d hello${token} ${origin}/topics/news`,
    echo: `npx -y wscat -c ${origin.replace("http", "ws")}/ping -x ping`,
    who: isOpen
      ? "No token is needed here: everyone who reaches this server may publish and subscribe."
      : "Topics are guarded: where <token> stands, put the token that the operator gave you.",
  };
};

/** What a program gets at /, and a browser without JavaScript. */
export function frontText(deps: SummaryDeps, context: RequestContext): string {
  return halfAScreen(originOf(deps, context), deps);
}

function halfAScreen(origin: string, deps: SummaryDeps): string {
  const { follow, publish, echo, who } = commandsOf(origin, deps);
  return `Longwire ${version} holds long connections: WebSockets and event streams. A topic is a URL.

Follow a topic:     ${follow}
Publish to it:      ${publish}
Test a connection:  ${echo}

${who}
Every message has an id. Come back with the last one (-H 'Last-Event-ID: <id>'), and you get
exactly what you missed, or are told that this is impossible.

${origin}/docs has the whole protocol, /openapi.json and /asyncapi.json describe it for programs,
and a browser gets a page to try it.
`;
}

/** In the form of llmstxt.org. */
function summary(origin: string, deps: SummaryDeps): string {
  const { follow, publish, echo, who } = commandsOf(origin, deps);
  return `# Longwire

> A long-connection server, version ${version}. A topic is a URL: POST to /topics/news, and everyone who is connected to
> /topics/news receives it, over a WebSocket or as server-sent events. Every message has an id. A client that returns with
> the last id it saw receives exactly what it missed, or is told that this is impossible.

- Follow a topic: \`${follow}\`
- Publish to it: \`${publish}\`
- Read what is kept without staying connected: \`${follow.replace("-N -H 'Accept: text/event-stream' ", "").replace("/topics/news", "/topics/news?since=all")}\`
- Test a connection: \`${echo}\`
- In a page: \`new EventSource("${origin}/topics/news")\`, or \`new WebSocket("${origin.replace("http", "ws")}/topics/news", "cloudevents.json")\`

${who}

## Docs

- [The protocol](${origin}/docs): topics, tokens, publishing, the three forms, coming back, keyed topics, who is here, close codes and statuses, clients in fifteen lines
- [OpenAPI](${origin}/openapi.json): the requests and their answers
- [AsyncAPI](${origin}/asyncapi.json): what flows over an open connection
`;
}

async function protocol(): Promise<string> {
  return (await import("#docs/protocol.md", { with: { type: "text" } })).default;
}

async function openApi(origin: string): Promise<string> {
  const { default: text } = await import("#docs/openapi.json", { with: { type: "text" } });
  const document = JSON.parse(text);
  document.info.version = version;
  document.servers = [{ url: origin }];
  return JSON.stringify(document, undefined, 2);
}

async function asyncApi(origin: string): Promise<string> {
  const { default: text } = await import("#docs/asyncapi.json", { with: { type: "text" } });
  const document = JSON.parse(text);
  document.info.version = version;
  const { host, protocol: scheme } = new URL(origin);
  const isSecure = scheme === "https:";
  document.servers.websocket = { ...document.servers.websocket, host, protocol: isSecure ? "wss" : "ws" };
  document.servers.http = { ...document.servers.http, host, protocol: isSecure ? "https" : "http" };
  return JSON.stringify(document, undefined, 2);
}
