/** Requests for a WebSocket or an event stream that are broken in many ways. */
import { handshakeHeaders, request } from "../support/raw-socket.ts";
import { askAll, mutate, serverFuzzer } from "./fuzzer.ts";

const requestsPerBatch = 20;

const paths = ["/ping", "/topics/fuzz", "/topics/fuzz,other", "/topics/fuzz?since=all", "/", "/metrics", "*"];
const methods = ["GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE", "get"];

const fields: Readonly<Record<string, readonly string[]>> = {
  Accept: ["text/event-stream", "*/*", ""],
  "Last-Event-ID": ["a-1", "all", "\u00ff", "x".repeat(300), ","],
  "Sec-WebSocket-Protocol": ["cloudevents.json", "longwire.raw, x", "bearer.a.b.c, cloudevents.json", ",,"],
  "Sec-WebSocket-Extensions": ["permessage-deflate", 'permessage-deflate; x="', "a, b; c"],
  "Sec-WebSocket-Version": ["13", "8", "13, 8", "\u00b9\u00b3", ""],
  "Sec-WebSocket-Key": ["", "x", "AAAAAAAAAAAAAAAAAAAAAA==", "A".repeat(5000)],
  Connection: ["upgrade, keep-alive", "close", "x", "Upgrade,,"],
  Upgrade: ["h2c", "websocket, h2c", "WEBSOCKET"],
  Origin: ["null", "http://localhost", "https://evil.example", "http://[", "\u00e9"],
  Host: ["localhost:1", "[::1]", "127.0.0.1:99999", "a b", "", "evil.example"],
  "Sec-Fetch-Site": ["cross-site", "none", "x"],
  "X-Forwarded-For": ["1.2.3.4", ",,,", "::1"],
  Authorization: ["Bearer x", "Basic x", "Bearer", "\u00e9"],
  Cookie: ["a=b", "=;=;", "\u00e9=%zz"],
  Expect: ["100-continue", "x"],
  "Content-Length": ["0", "5", "-1", "1, 1", "x"],
};

export const handshake = serverFuzzer("handshake", (server, random) =>
  askAll(
    server,
    random,
    Array.from({ length: requestsPerBatch }, () => {
      const headers: Record<string, string> = random.chance(0.8) ? { ...handshakeHeaders } : {};
      for (let count = random.below(4); count > 0; count--) {
        const name = random.pick(Object.keys(fields));
        headers[name] = random.pick(fields[name] ?? []);
      }
      const bytes = Buffer.from(request(random.pick(methods), random.pick(paths), headers), "latin1");
      return mutate(random, bytes, random.below(4));
    }),
  ),
);
