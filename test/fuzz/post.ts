/** POST requests whose URL, headers or body are broken in many ways. */
import type { Random } from "../support/random.ts";
import { request } from "../support/raw-socket.ts";
import { askAll, mutate, randomBytes, serverFuzzer } from "./fuzzer.ts";

const requestsPerBatch = 20;

const topics = [
  "fuzz",
  "fuzz,other",
  "a/b/c",
  "%66uzz",
  "..",
  "%2e%2e",
  "a,,b",
  "a%2cb",
  "%ff",
  "\u00e9",
  "a".repeat(201),
  "%E6%96%B0%E9%97%BB",
  "cafe%CC%81",
];
const queries = ["", "?since=all", "?access_token=x", "?%", "?a&&=b", "?end", "?end=x"];

const contentTypes = [
  ...[
    "text/plain",
    "application/json",
    "application/cloudevents+json",
    "application/octet-stream",
    "a/b+json",
  ],
  ...[
    "application/cloudevents-batch+json",
    "text/event-stream",
    "Text/Event-Stream; charset=utf-8",
    "application/x-ndjson",
    "application/jsonl",
  ],
  ...[
    'text/plain; charset="utf-8"',
    "text/",
    "/",
    "\u00ff/\u00ff",
    'x/y; a="\\',
    "multipart/form-data; boundary=x",
  ],
];

const keys = ["k", '"k"', '""', "", "x".repeat(256), "\u00e9\u00e9", '"', "k,k"];

const attributeNames = [
  "ce-type",
  "ce-subject",
  "ce-specversion",
  "ce-topic",
  "ce-a-b",
  "ce-",
  "traceparent",
];
const attributeValues = [
  "t",
  "%E6%96%B0",
  "%ff",
  "%0A",
  '"q\\""',
  "longwire.end",
  "\u00e9",
  "x".repeat(2000),
  "1.0",
];

const bodies = [
  "hello",
  "",
  '{"a":1}',
  '{"a":',
  "\ud83d\ude00",
  "x".repeat(4096),
  "x".repeat(4097),
  "data: x\n\nid: evil\n\n",
  "event: t\r\ndata: x\r\rdata\n\n: c\nevent: longwire.binary\ndata: AP8=\n\nevent: longwire.end\ndata: {}\n\n",
  '1\n{"a": 1.0}\r\n\n[',
  '{"specversion":"1.0","type":"t","data":{"a":1}}',
  '[{"specversion":"1.0","type":"t","subject":"s","n":7,"data":"x"},{"specversion":"1.0","type":"u","data":1}]',
  `${"[".repeat(2000)}${"]".repeat(2000)}`,
];

export const post = serverFuzzer("post", (server, random) =>
  askAll(
    server,
    random,
    Array.from({ length: requestsPerBatch }, () => {
      const bytes = anyPost(random);
      return random.chance(0.6) ? mutate(random, bytes, random.between(1, 4)) : bytes;
    }),
  ),
);

function anyPost(random: Random): Buffer {
  const body = random.chance(0.7) ? Buffer.from(random.pick(bodies)) : randomBytes(random, random.below(64));
  const isChunked = random.chance(0.3);
  const headers: Record<string, string> = isChunked
    ? { "Transfer-Encoding": "chunked" }
    : { "Content-Length": String(random.chance(0.9) ? body.length : random.below(6000)) };
  if (random.chance(0.8)) headers["Content-Type"] = random.pick(contentTypes);
  if (random.chance(0.4)) headers["Idempotency-Key"] = random.pick(keys);
  if (random.chance(0.1)) headers["Content-Encoding"] = random.pick(["gzip", "br", "x"]);
  if (random.chance(0.1)) headers.Expect = "100-continue";
  if (random.chance(0.3)) headers[random.pick(attributeNames)] = random.pick(attributeValues);
  const head = request("POST", `/topics/${random.pick(topics)}${random.pick(queries)}`, headers);
  return Buffer.concat([Buffer.from(head, "latin1"), isChunked ? chunked(random, body) : body]);
}

function chunked(random: Random, body: Buffer): Buffer {
  const cut = random.below(body.length + 1);
  const chunks = [body.subarray(0, cut), body.subarray(cut)].filter(({ length }) => length > 0);
  const extension = random.pick(["", "", ";a=b", ';"', "\t"]);
  const parts = chunks.map((chunk) => [
    Buffer.from(`${chunk.length.toString(16)}${extension}\r\n`),
    chunk,
    "\r\n",
  ]);
  return Buffer.concat([...parts.flat(), "0\r\n\r\n"].map((part) => Buffer.from(part)));
}
