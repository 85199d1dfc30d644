/** The client page: the files of public/, embedded in the binary and served from memory. */
import { methods } from "../http/methods.ts";
import type { Handler } from "../http/request-context.ts";

/**
 * A browser loads the modules one by one under their names in public/, so nothing needs to be bundled. Each file is read
 * and transpiled at its first request. At start that would take a fifth of the time until the server accepts.
 */
export function pageHandlers(): Record<string, Handler> {
  const page = file("text/html", () => import("#public/index.html", { with: { type: "text" } }));
  return {
    "/": page,
    "/longconnecthtml": page,
    "/page.css": file("text/css", () => import("#public/page.css", { with: { type: "text" } })),
    "/icon.svg": file("image/svg+xml", () => import("#public/icon.svg", { with: { type: "text" } })),
    "/page.ts": module(() => import("#public/page.ts", { with: { type: "text" } })),
    "/echo.ts": module(() => import("#public/echo.ts", { with: { type: "text" } })),
    "/topics.ts": module(() => import("#public/topics.ts", { with: { type: "text" } })),
    "/composer.ts": module(() => import("#public/composer.ts", { with: { type: "text" } })),
    "/topic-events.ts": module(() => import("#public/topic-events.ts", { with: { type: "text" } })),
    "/topic-name.ts": module(() => import("#public/topic-name.ts", { with: { type: "text" } })),
    "/topic-requests.ts": module(() => import("#public/topic-requests.ts", { with: { type: "text" } })),
    "/resume.ts": module(() => import("#public/resume.ts", { with: { type: "text" } })),
    "/address.ts": module(() => import("#public/address.ts", { with: { type: "text" } })),
    "/panel.ts": module(() => import("#public/panel.ts", { with: { type: "text" } })),
    "/publisher.ts": module(() => import("#public/publisher.ts", { with: { type: "text" } })),
    "/subscription.ts": module(() => import("#public/subscription.ts", { with: { type: "text" } })),
    "/topic-form.ts": module(() => import("#public/topic-form.ts", { with: { type: "text" } })),
    "/curl.ts": module(() => import("#public/curl.ts", { with: { type: "text" } })),
    "/status.ts": module(() => import("#public/status.ts", { with: { type: "text" } })),
    "/log.ts": module(() => import("#public/log.ts", { with: { type: "text" } })),
    "/line.ts": module(() => import("#public/line.ts", { with: { type: "text" } })),
    "/words.ts": module(() => import("#public/words.ts", { with: { type: "text" } })),
    "/element.ts": module(() => import("#public/element.ts", { with: { type: "text" } })),
  };
}

/** A file of public/ as a module that exports its text. */
type Load = () => Promise<{ readonly default: string }>;

function module(load: Load): Handler {
  return file("text/javascript", async () => {
    const transpiler = new Bun.Transpiler({ loader: "ts", target: "browser" });
    return { default: transpiler.transformSync((await load()).default) };
  });
}

function file(type: string, load: Load): Handler {
  let loading: Promise<{ text: string; tag: string }> | undefined;
  const read = async (): Promise<{ text: string; tag: string }> => {
    const { default: text } = await load();
    return { text, tag: `"${Bun.hash(text).toString(36)}"` };
  };
  return methods({
    GET: async ({ request }) => {
      loading ??= read();
      const { text, tag } = await loading;
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

/** Whether If-None-Match names the tag. A proxy that compresses marks it as weak (RFC 9110 section 13.1.2). */
function matchesETag(ifNoneMatch: string | null, tag: string): boolean {
  return ifNoneMatch?.split(",").some((name) => name.trim().replace(/^W\//, "") === tag) ?? false;
}

/**
 * Allows everything from this server and nothing inline. Browsers older than CSP 3 do not count ws: as 'self', so it is
 * named, unless the Host is one that no browser sends.
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
