/** Every path that has no endpoint. */
import { Refusal } from "../http/refusal.ts";
import type { Handler } from "../http/request-context.ts";

export const notFound: Handler = ({ pathname }) => {
  const ways = "The page is at /, the echo line at /ping, topics at /topics/…, their members at /presence/….";
  throw new Refusal("not_found", `Nothing is at ${pathname}. ${ways}`);
};
