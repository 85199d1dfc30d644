/**
 * The client page, public/ as five files, and the client of src/client/: inside the binary, built in the package, or bundled
 * at the first request. They are served from memory.
 */
import { methods } from "../http/methods.ts";
import { Refusal } from "../http/refusal.ts";
import type { Handler, RequestContext } from "../http/request-context.ts";

/** The text of each file that a browser loads. */
export interface PageFiles {
  readonly "index.html": string;
  /** The protocol for browsers. */
  readonly "docs.html": string;
  readonly "page.js": string;
  readonly "page.css": string;
  readonly "icon.svg": string;
  /** `longwire/client` as a module. */
  readonly "client.js": string;
}

declare global {
  /** src/build.ts replaces it by the files. Run from source it is undefined. */
  var embeddedPage: PageFiles | undefined;
}

const types: Readonly<Record<keyof PageFiles, string>> = {
  "index.html": "text/html",
  "docs.html": "text/html",
  "page.js": "text/javascript",
  "page.css": "text/css",
  "icon.svg": "image/svg+xml",
  "client.js": "text/javascript",
};

/**
 * What the page is told of presence, so that it asks for nothing that the server does not have. `none`: the members of no
 * topic are known. `token`: they are those whom tokens name. `open`: a line names its own, with `?member=`.
 */
export type PagePresence = "none" | "token" | "open";

/**
 * The page by path. Nothing is read or bundled before the first request, so a start costs nothing.
 * @param summaryOf what a browser without JavaScript shows in place of the page
 */
export function pageHandlers(summaryOf: (context: RequestContext) => string, presence: PagePresence) {
  let loading: Promise<PageFiles> | undefined;
  const load = (): Promise<PageFiles> => {
    loading ??= loadPage();
    return loading;
  };
  const serve = (name: keyof PageFiles): Handler => file(types[name], async () => (await load())[name]);
  const page = file("text/html", async (context) =>
    (await load())["index.html"]
      .replace("{presence}", presence)
      .replace("{summary}", () => Bun.escapeHTML(summaryOf(context))),
  );
  return {
    "/": page,
    "/longconnecthtml": page,
    "/docs": serve("docs.html"),
    "/page.js": serve("page.js"),
    "/page.css": serve("page.css"),
    "/icon.svg": serve("icon.svg"),
    "/client.js": serve("client.js"),
  };
}

async function loadPage(): Promise<PageFiles> {
  const embedded = globalThis.embeddedPage;
  if (embedded) return embedded;
  if (isCompiled)
    throw new Refusal(
      "not_found",
      "This program was compiled without the page, which `bun run build` of Longwire puts inside. Everything else is served.",
    );
  // The sources are in a clone alone. There, files that were built for a package may be older than the sources.
  return (await Bun.file(pathOf("public/index.html")).exists()) ? await bundlePage() : await builtPage();
}

/** Reads what src/build-page.ts wrote. */
async function builtPage(): Promise<PageFiles> {
  const names = Object.keys(types) as (keyof PageFiles)[];
  const read = async (name: keyof PageFiles) => [name, await Bun.file(pathOf(`dist/page/${name}`)).text()];
  return Object.fromEntries(await Promise.all(names.map(read)));
}

const pathOf = (name: string): string => Bun.fileURLToPath(new URL(`../../${name}`, import.meta.url));

/** Whether this is in a program of its owner's that was compiled: it has no bundler and no files to bundle. */
const isCompiled = /\/(\$bunfs|~BUN)\//.test(import.meta.url);

/** Bundles all of it in about 50 ms. @throws AggregateError if it cannot: a compiled binary has no bundler */
export async function bundlePage(): Promise<PageFiles> {
  const bundle = async (...entrypoints: string[]): Promise<Bun.BuildArtifact[]> => {
    const { outputs } = await Bun.build({
      entrypoints: entrypoints.map(pathOf),
      target: "browser",
      minify: true,
      jsx: { runtime: "automatic", importSource: "preact", development: false },
      define: { "process.env.NODE_ENV": '"production"' },
    });
    return outputs;
  };
  const page = await bundle("public/page.tsx", "public/page.css");
  const client = await bundle("src/client/client.ts");
  const protocol = await renderProtocol(await Bun.file(pathOf("docs/protocol.md")).text());
  const textOf = async (outputs: Bun.BuildArtifact[], type: string): Promise<string> =>
    (await outputs.find((output) => output.type.startsWith(type))?.text()) ?? "";
  return {
    "index.html": await Bun.file(pathOf("public/index.html")).text(),
    "docs.html": (await Bun.file(pathOf("public/docs.html")).text()).replace(
      "<!-- protocol.md -->",
      () => protocol,
    ),
    "page.js": await textOf(page, "text/javascript"),
    "page.css": await textOf(page, "text/css"),
    "icon.svg": await Bun.file(pathOf("public/icon.svg")).text(),
    "client.js": await textOf(client, "text/javascript"),
  };
}

/** The list of contents links to headings as GitHub names them, so a browser finds the same places. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(/\s/g, "-");
}

/** @param markdown docs/protocol.md, which programs get as it is @returns HTML. The text is our own: nothing in it needs to be made safe. */
async function renderProtocol(markdown: string): Promise<string> {
  // Resolved when it runs: a program that is compiled with Longwire has no such package, and needs none.
  const { Marked } = (await import(import.meta.resolve("marked"))) as typeof import("marked");
  const marked = new Marked({
    renderer: {
      heading({ tokens, text, depth }) {
        return `<h${depth} id="${anchorOf(text)}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
      },
      link({ href, tokens }) {
        const text = this.parser.parseInline(tokens);
        // Other files of the repository are not on a server.
        return /^(#|https?:)/.test(href) ? `<a href="${href}">${text}</a>` : text;
      },
    },
  });
  return await marked.parse(markdown);
}

function file(type: string, load: (context: RequestContext) => Promise<string>): Handler {
  return methods({
    GET: async (context) => {
      const { request } = context;
      const text = await load(context);
      const tag = `"${Bun.hash(text).toString(36)}"`;
      const headers = {
        "Content-Type": `${type}; charset=utf-8`,
        "Content-Security-Policy": contentSecurityPolicy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        // Everyone can read these files, so a page of another origin may import the client.
        "Access-Control-Allow-Origin": "*",
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
 * Allows files of this server only and nothing inline. Connections may go anywhere: a person enters the addresses of other
 * servers. The page itself connects only to its own.
 */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob:",
  "connect-src 'self' ws: wss: http: https:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");
