/** A TCP proxy that can cut its connections, as a network does. */
export interface CuttableLine extends Disposable {
  /** The server's URL through this proxy. */
  readonly url: URL;
  /** The number of connections so far. */
  readonly carried: number;
  /** Ends every connection. */
  cut(): void;
}

interface Carried {
  /** Bytes that the connection to the server has not taken yet, or that arrived before it was open. */
  unsent: Buffer;
  far: Bun.Socket | undefined;
  /** Bytes of the server that may still pass. */
  left: number;
}

/** @param allowance the number of the server's bytes that the next connection may pass before it ends; all if left out */
export function openCuttableLine(
  target: URL,
  allowance: () => number = () => Number.POSITIVE_INFINITY,
): CuttableLine {
  const open = new Set<Bun.Socket<Carried>>();
  let carried = 0;
  const flush = ({ data }: Bun.Socket<Carried>): void => {
    if (data.far) data.unsent = data.unsent.subarray(Math.max(0, data.far.write(data.unsent)));
  };
  const listener = Bun.listen<Carried>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(near) {
        carried++;
        open.add(near);
        near.data = { unsent: Buffer.alloc(0), far: undefined, left: allowance() };
        void Bun.connect({
          hostname: "127.0.0.1",
          port: Number(target.port),
          socket: {
            open(far) {
              near.data.far = far;
              flush(near);
            },
            drain: () => flush(near),
            data(far, bytes) {
              near.write(bytes.subarray(0, near.data.left)); // Few enough for a reading client to take at once.
              near.data.left -= bytes.length;
              if (near.data.left > 0) return;
              near.end(); // Not reset: the client receives exactly the bytes that passed.
              far.terminate();
            },
            close: () => void near.end(),
          },
        });
      },
      data(near, bytes) {
        near.data.unsent = Buffer.concat([near.data.unsent, bytes]);
        flush(near);
      },
      close(near) {
        open.delete(near);
        near.data.far?.terminate();
      },
    },
  });
  const url = new URL(target);
  url.port = String(listener.port);
  return {
    url,
    get carried() {
      return carried;
    },
    cut: () => {
      for (const near of open) near.terminate();
    },
    [Symbol.dispose]: () => listener.stop(true),
  };
}
