/** Every path that has no endpoint. */
import { problem } from "../http/problem.ts";
import type { Handler } from "../http/request-context.ts";

export const notFound: Handler = ({ url }) =>
  problem(
    404,
    `Nothing is at ${url.pathname}. The page is at /, the echo line at /ping, topics at /topics/….`,
  );
