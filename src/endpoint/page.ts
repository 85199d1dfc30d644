/** The client page: what stands in public/, embedded in the binary and served from memory. */
import composer from "#public/composer.ts" with { type: "text" };
import curl from "#public/curl.ts" with { type: "text" };
import echo from "#public/echo.ts" with { type: "text" };
import element from "#public/element.ts" with { type: "text" };
import icon from "#public/icon.svg" with { type: "text" };
import html from "#public/index.html" with { type: "text" };
import line from "#public/line.ts" with { type: "text" };
import log from "#public/log.ts" with { type: "text" };
import style from "#public/page.css" with { type: "text" };
import script from "#public/page.ts" with { type: "text" };
import resume from "#public/resume.ts" with { type: "text" };
import status from "#public/status.ts" with { type: "text" };
import topicEvents from "#public/topic-events.ts" with { type: "text" };
import topicName from "#public/topic-name.ts" with { type: "text" };
import topicRequests from "#public/topic-requests.ts" with { type: "text" };
import topics from "#public/topics.ts" with { type: "text" };
import words from "#public/words.ts" with { type: "text" };
import { methods } from "../http/methods.ts";
import type { Handler } from "../http/request-context.ts";

/** A browser loads the modules one by one under the names they have in public/, so nothing needs to be bundled. */
export function pageHandlers(): Record<string, Handler> {
  const transpiler = new Bun.Transpiler({ loader: "ts", target: "browser" });
  const page = file("text/html", html);
  const module = (source: string): Handler => file("text/javascript", transpiler.transformSync(source));
  return {
    "/": page,
    "/longconnecthtml": page,
    "/page.css": file("text/css", style),
    "/page.ts": module(script),
    "/echo.ts": module(echo),
    "/topics.ts": module(topics),
    "/composer.ts": module(composer),
    "/topic-events.ts": module(topicEvents),
    "/topic-name.ts": module(topicName),
    "/topic-requests.ts": module(topicRequests),
    "/resume.ts": module(resume),
    "/curl.ts": module(curl),
    "/status.ts": module(status),
    "/log.ts": module(log),
    "/line.ts": module(line),
    "/words.ts": module(words),
    "/element.ts": module(element),
    "/icon.svg": file("image/svg+xml", icon),
  };
}

function file(type: string, text: string): Handler {
  const tag = `"${Bun.hash(text).toString(36)}"`;
  return methods({
    GET: ({ request }) => {
      const headers = {
        "Content-Type": `${type}; charset=utf-8`,
        "Content-Security-Policy": contentSecurityPolicy(request.headers.get("host") ?? ""),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache", // Ask each time: a page of an older server must not outlive it.
        ETag: tag,
      };
      if (matchesETag(request.headers.get("if-none-match"), tag))
        return new Response(null, { status: 304, headers });
      return new Response(text, { headers });
    },
  });
}

/** Whether If-None-Match names the tag; a proxy that compresses marks it as weak (RFC 9110 section 13.1.2). */
function matchesETag(ifNoneMatch: string | null, tag: string): boolean {
  return ifNoneMatch?.split(",").some((name) => name.trim().replace(/^W\//, "") === tag) ?? false;
}

/**
 * Everything from this server and nothing inline. Browsers older than CSP 3 do not read ws: into 'self', so it is named,
 * unless the Host is one that no browser sends.
 */
function contentSecurityPolicy(host: string): string {
  const lines = /^[\w.-]+(:\d+)?$/.test(host) ? ` ws://${host} wss://${host}` : "";
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    `connect-src 'self'${lines}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}
