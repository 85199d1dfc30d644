/** WebSocket frames that are broken in many ways, on the echo line and in both forms of a topic. */
import type { Random } from "../support/random.ts";
import { frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import type { RunningServer } from "../support/server.ts";
import { mutate, pieces, randomBytes, serverFuzzer } from "./fuzzer.ts";

const linesPerBatch = 10;
const quietMilliseconds = 15;

const lines: readonly { readonly path: string; readonly headers: Readonly<Record<string, string>> }[] = [
  { path: "/ping", headers: {} },
  { path: "/topics/fuzz", headers: {} },
  { path: "/topics/fuzz", headers: { "Sec-WebSocket-Protocol": "cloudevents.json" } },
  { path: "/topics/fuzz,other", headers: { "Sec-WebSocket-Protocol": "cloudevents.json" } },
];

const events = [
  '{"specversion":"1.0","type":"longwire.ping"}',
  '{"specversion":"1.0","type":"a","topic":"fuzz","data":{"a":[1,2.50,"x"]}}',
  '{"specversion":"1.0","type":"a","topic":"fuzz","datacontenttype":"text/plain","data":"text \\ud83d\\ude00"}',
  '{"specversion":"1.0","type":"a","topic":"fuzz","data_base64":"AAECAw=="}',
  '{"specversion":"1.0","type":"a","topic":"../x","data":"\\ud800","__proto__":{"topic":"x"},"data":2}',
  '{"specversion":"1.0","topic":"fuzz","datacontenttype":"application/json","data":' +
    "[".repeat(1500) +
    "]}",
  "ping",
];

export const frames = serverFuzzer("frames", async (server, random) => {
  const heard = await Promise.all(Array.from({ length: linesPerBatch }, () => speak(server, random)));
  return heard.reduce((sum, frameCount) => sum + frameCount, 0);
});

/** @returns the number of frames that were received */
async function speak(server: RunningServer, random: Random): Promise<number> {
  const { path, headers } = random.pick(lines);
  using socket = await RawSocket.connect(server.url);
  socket.write(request("GET", path, { ...handshakeHeaders, ...headers }));
  const { status } = await socket.response();
  if (status !== 101) throw new Error(`an honest handshake was answered ${status}`);
  const said = Buffer.concat(Array.from({ length: random.between(1, 6) }, () => anyFrame(random)));
  const mutated = random.chance(0.5) ? mutate(random, said, random.between(1, 3)) : said;
  for (const piece of pieces(random, mutated)) {
    socket.write(piece);
    await new Promise(setImmediate); // Lets the server read it by itself.
  }
  return checkFrames(await socket.hear(quietMilliseconds));
}

function anyFrame(random: Random): Buffer {
  const opcode = random.chance(0.9) ? random.pick(Object.values(opcodes)) : random.below(16);
  const event = Buffer.from(random.pick(events));
  const payload = random.chance(0.6)
    ? mutate(random, event, random.below(3))
    : randomBytes(random, random.pick([0, 1, 2, 125, 126, 127, 4096, 4097, 5000]));
  return frame(opcode, payload, {
    final: random.chance(0.8),
    masked: random.chance(0.97),
    reservedBits: random.chance(0.03) ? random.pick([0x40, 0x20, 0x10]) : 0,
  });
}

/** Codes that a server may send (RFC 6455 section 7.4) and that docs/protocol.md names. */
const closeCodes = new Set([1000, 1001, 1002, 1007, 1008, 1009, 1013]);

/** Checks the frames of a server: whole or cut off at the end, unmasked, text in UTF-8, and nothing after a Close frame. */
function checkFrames(heard: Buffer): number {
  let frameCount = 0;
  for (let rest = heard; rest.length > 0; ) {
    const [first = 0, second = 0] = rest;
    const opcode = first & 0x0f;
    if (first !== (0x80 | opcode) || ![1, 2, 8, 9, 10].includes(opcode) || second & 0x80) {
      throw new Error(`the server sent a frame that begins with ${rest.subarray(0, 2).toString("hex")}`);
    }
    const lengthBytes = second < 126 ? 0 : second === 126 ? 2 : 8;
    if (rest.length < 2 + lengthBytes) return frameCount;
    const length =
      lengthBytes === 0 ? second : lengthBytes === 2 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2));
    const payload = rest.subarray(2 + lengthBytes, 2 + lengthBytes + length);
    rest = rest.subarray(2 + lengthBytes + length);
    if (payload.length < length) return frameCount;
    frameCount++;
    if (opcode === opcodes.text) new TextDecoder("utf-8", { fatal: true }).decode(payload);
    if (opcode !== opcodes.close) continue;
    const code = payload.length === 0 ? 1000 : payload.readUInt16BE();
    if (!closeCodes.has(code) && !(code >= 3000 && code < 5000))
      throw new Error(`closed with ${code}: ${payload}`);
    if (rest.length > 0) throw new Error(`${rest.length} bytes came after a Close frame`);
  }
  return frameCount;
}
