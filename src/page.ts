/** The client page: what stands in public/, embedded in the binary and served from memory. */
import icon from "#public/icon.svg" with { type: "text" };
import html from "#public/index.html" with { type: "text" };
import line from "#public/line.ts" with { type: "text" };
import style from "#public/page.css" with { type: "text" };
import script from "#public/page.ts" with { type: "text" };
import words from "#public/words.ts" with { type: "text" };
import { methods, type RequestHandler, type Routes } from "./http.ts";

/** A browser loads the modules one by one under the names they have in public/, so nothing needs to be bundled. */
export function pageRoutes(): Routes {
  const transpiler = new Bun.Transpiler({ loader: "ts", target: "browser" });
  const page = file("text/html", html);
  const module = (source: string): RequestHandler =>
    file("text/javascript", transpiler.transformSync(source));
  return {
    "/": page,
    "/longconnecthtml": page,
    "/page.css": file("text/css", style),
    "/page.ts": module(script),
    "/line.ts": module(line),
    "/words.ts": module(words),
    "/icon.svg": file("image/svg+xml", icon),
  };
}

function file(type: string, text: string): RequestHandler {
  const tag = `"${Bun.hash(text).toString(36)}"`;
  return methods({
    GET: (request) => {
      const headers = {
        "Content-Type": `${type}; charset=utf-8`,
        "Content-Security-Policy": contentSecurityPolicy(new URL(request.url).host),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache", // Ask each time: a page of an older server must not outlive it.
        ETag: tag,
      };
      if (request.headers.get("if-none-match") === tag) return new Response(null, { status: 304, headers });
      return new Response(text, { headers });
    },
  });
}

/** Everything from this server and nothing inline. Browsers older than CSP 3 do not read ws: into 'self', so it is named. */
function contentSecurityPolicy(host: string): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    `connect-src 'self' ws://${host} wss://${host}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}
