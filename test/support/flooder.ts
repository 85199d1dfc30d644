/**
 * A companion that sends small frames as fast as TCP takes them: `bun run test/support/flooder.ts <url> <opcode> <sockets>`.
 * It reads the answers, until its stdin ends; then it prints how many bytes it has sent.
 */
import { frame, handshakeHeaders, request } from "./raw-socket.ts";
import { Stdin } from "./stdin.ts";

export interface Flood {
  readonly sentBytes: number;
}

const framesPerWrite = 20_000;

if (import.meta.main) {
  const [url = "", opcode, sockets] = process.argv.slice(2);
  await main(new URL(url), Number(opcode), Number(sockets));
}

async function main(url: URL, opcode: number, sockets: number): Promise<void> {
  const stdin = new Stdin();
  const frames = Buffer.concat(Array<Buffer>(framesPerWrite).fill(frame(opcode, "x")));
  let sentBytes = 0;
  for (let count = 0; count < sockets; count++) {
    let unsent = frames;
    const begun = Promise.withResolvers<void>();
    await Bun.connect({
      hostname: url.hostname,
      port: Number(url.port),
      data: false,
      socket: {
        open: (socket) => void socket.write(request("GET", url.pathname, handshakeHeaders)),
        data: (socket) => {
          if (socket.data) return;
          socket.data = true;
          begun.resolve();
          flood(socket);
        },
        drain: flood,
      },
    });
    await begun.promise;
    function flood(socket: { data: boolean; write(bytes: Uint8Array): number }): void {
      while (socket.data) {
        const written = socket.write(unsent);
        if (written <= 0) return;
        sentBytes += written;
        const rest = unsent.subarray(written);
        unsent = rest.length > 0 ? rest : frames;
        if (rest.length > 0) return;
      }
    }
  }
  console.log("begun");
  while (!stdin.hasEnded) await Bun.sleep(10);
  const result: Flood = { sentBytes };
  console.log(JSON.stringify(result));
  process.exit(0); // Does not wait for the sockets.
}
