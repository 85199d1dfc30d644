/**
 * A TCP connection that reads exactly the bytes that the test wants, and for which the kernel buffers little: 100 to 200 KB,
 * while an ordinary loopback connection buffers 4 MB. So a server's own limits are reached after few messages. Linux only,
 * because it calls libc.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";

const libc = dlopen("libc.so.6", {
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  setsockopt: {
    args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32],
    returns: FFIType.i32,
  },
  connect: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  recv: { args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i64 },
  send: { args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i64 },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
  poll: { args: [FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i32 },
}).symbols;

const internet = 2; // AF_INET
const stream = 1; // SOCK_STREAM
const socketLevel = 1; // SOL_SOCKET
const receiveBuffer = 8; // SO_RCVBUF
const tcpLevel = 6; // IPPROTO_TCP
const segmentBytesMax = 2; // TCP_MAXSEG, which bounds the buffer of the sender's kernel
const withoutWaiting = 0x40 | 0x4000; // MSG_DONTWAIT | MSG_NOSIGNAL

const readable = 1; // POLLIN

/**
 * Bytes of the kernel's buffer and of a segment. 8 MiB through the narrow one take 300 ms of processor time, in 2,600 reads;
 * through the wide one 30 ms, in 400 reads. It buffers about 200 KB, the narrow one 100 KB.
 */
const widths = {
  narrow: { bufferBytes: 4096, segmentBytes: 536 },
  wide: { bufferBytes: 16 * 1024, segmentBytes: 1400 },
} as const;

export type Width = keyof typeof widths;

/** A `struct pollfd`. */
const asked = Buffer.alloc(8);

/** Shared by all: bytes are copied out before the next read. */
const landing = Buffer.alloc(256 * 1024);

export class NarrowSocket implements Disposable {
  #descriptor: number;

  /** Connects to 127.0.0.1 and blocks until it is connected: a listening kernel accepts at once. */
  constructor(port: number, width: Width = "narrow") {
    const { bufferBytes, segmentBytes } = widths[width];
    this.#descriptor = libc.socket(internet, stream, 0);
    if (this.#descriptor < 0) throw new Error("no socket: are there enough file descriptors?");
    this.#set(socketLevel, receiveBuffer, bufferBytes);
    this.#set(tcpLevel, segmentBytesMax, segmentBytes);
    const address = Buffer.alloc(16);
    address.writeUInt16LE(internet, 0);
    address.writeUInt16BE(port, 2);
    address.set([127, 0, 0, 1], 4);
    if (libc.connect(this.#descriptor, ptr(address), address.length) !== 0) {
      this[Symbol.dispose]();
      throw new Error(`cannot connect to port ${port}`);
    }
  }

  /** Sends bytes that are few enough to fit. */
  write(bytes: Buffer): void {
    const sent = this.tryWrite(bytes);
    if (sent !== bytes.length) throw new Error(`${sent} of ${bytes.length} bytes were sent`);
  }

  /** @returns how many bytes the kernel took */
  tryWrite(bytes: Buffer): number {
    return Math.max(0, Number(libc.send(this.#descriptor, ptr(bytes), bytes.length, withoutWaiting)));
  }

  /** @returns the bytes that have arrived, at most `bytesMax`; undefined after the end of the connection */
  read(bytesMax: number): Buffer | undefined {
    if (this.#descriptor < 0) return undefined;
    asked.writeInt32LE(this.#descriptor, 0);
    asked.writeInt32LE(readable, 4); // Also clears the last result.
    if (libc.poll(ptr(asked), 1, 0) === 0) return Buffer.alloc(0);
    const size = Math.min(bytesMax, landing.length);
    const received = Number(libc.recv(this.#descriptor, ptr(landing), size, withoutWaiting));
    return received > 0 ? Buffer.from(landing.subarray(0, received)) : undefined;
  }

  [Symbol.dispose](): void {
    if (this.#descriptor >= 0) libc.close(this.#descriptor);
    this.#descriptor = -1;
  }

  #set(level: number, option: number, value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    libc.setsockopt(this.#descriptor, level, option, ptr(bytes), bytes.length);
  }
}
