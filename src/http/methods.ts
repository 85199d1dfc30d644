/** The methods of a path. */
import { Refusal } from "./refusal.ts";
import type { Handler } from "./request-context.ts";

/**
 * One handler for all methods of a path. Bun's own table of methods is not used because it answers 404 where RFC 9110
 * section 15.5.6 wants 405 with Allow.
 */
export function methods(table: {
  readonly GET: Handler;
  readonly POST?: Handler;
  readonly DELETE?: Handler;
}): Handler {
  const { POST, DELETE } = table;
  const allow = ["GET", "HEAD", ...(POST ? ["POST"] : []), ...(DELETE ? ["DELETE"] : []), "OPTIONS"].join(
    ", ",
  );
  return (context) => {
    const { method } = context.request;
    switch (method) {
      case "GET":
      case "HEAD": // Bun leaves the body out.
        return table.GET(context);
      case "OPTIONS":
        return new Response(null, { status: 204, headers: { Allow: allow } });
      case "POST":
        if (POST) return POST(context);
        break;
      case "DELETE":
        if (DELETE) return DELETE(context);
    }
    throw new Refusal("method", `${method} is not possible here; use one of ${allow}.`, { Allow: allow });
  };
}
