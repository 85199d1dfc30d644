/** Which verified tokens are kept. */
import { expect, test } from "bun:test";
import { KeptTokens } from "../../src/access/kept-tokens.ts";
import { TopicPermissions } from "../../src/access/permissions.ts";
import { anonymous } from "../../src/access/publishers.ts";
import { malformed } from "../../src/http/refusal.ts";
import { keptTokensMax } from "../../src/settings/limits.ts";

const permissions = new TopicPermissions(
  anonymous,
  Number.POSITIVE_INFINITY,
  { subscribe: [], publish: [], end: [], presence: [] },
  () => malformed("not asked"),
);
const token = { permissions, isCurrent: () => true };

test("when there are too many tokens, the oldest is forgotten that was not presented again", () => {
  using kept = new KeptTokens();
  for (let number = 1; number <= keptTokensMax; number++) kept.set(`${number}`, token);
  expect(kept.get("1")).toBe(permissions);
  expect(kept.get("3")).toBe(permissions);
  for (const number of ["new", "newer"]) kept.set(number, token);
  expect(["1", "2", "3", "4", "5", "new", "newer"].filter((digest) => kept.get(digest))).toEqual([
    "1",
    "3",
    "5",
    "new",
    "newer",
  ]);
});

test("where every token was presented again, the oldest is forgotten", () => {
  using kept = new KeptTokens();
  for (let number = 1; number <= keptTokensMax; number++) kept.set(`${number}`, token);
  for (let number = 1; number <= keptTokensMax; number++) kept.get(`${number}`);
  kept.set("new", token);
  expect(["1", "2", "new"].map((digest) => kept.get(digest) !== undefined)).toEqual([false, true, true]);
});
