/** A way to a server that can be cut, as a network is. */
export interface CuttableLine extends Disposable {
  /** The server's, by this way. */
  readonly url: URL;
  /** Connections carried so far. */
  readonly carried: number;
  /** Ends every connection on it. */
  cut(): void;
}

interface Carried {
  /** What the server's end does not take yet, or is not there to take. */
  unsent: Buffer;
  far: Bun.Socket | undefined;
  /** Bytes of the server that are still let through. */
  left: number;
}

/** @param allowance how many of the server's bytes the next connection is let have; then it ends. By default all. */
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
              near.write(bytes.subarray(0, near.data.left)); // Small ones, which a client that reads takes at once.
              near.data.left -= bytes.length;
              if (near.data.left > 0) return;
              near.end(); // Not reset: the client gets exactly what it was let have.
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
