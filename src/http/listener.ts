/** The address or socket file that a server listens on, and its TLS certificate. Each mistake is an error in words. */
import { type Config, ConfigError } from "../settings/config.ts";
import { isLoopback } from "./origin.ts";

/** @throws {ConfigError} for files that cannot be used, and for a socket file that another process uses */
export async function listenOptions(config: Config): Promise<ListenOptions> {
  const { host, port, unixSocket, tlsCertificateFile, tlsKeyFile, reusePort } = config;
  const tls = tlsCertificateFile ? { tls: await readCertificate(tlsCertificateFile, tlsKeyFile) } : {};
  if (unixSocket) {
    await removeStaleSocket(unixSocket);
    return { unix: unixSocket, ...tls };
  }
  // With `development: false` Bun shares a taken port unless `reusePort` is false. Half the connections would then go to
  // the other process.
  return { hostname: host, port, reusePort, ...tls };
}

/**
 * Where the endpoints for operators listen by themselves, if anywhere: each process of one port needs its own.
 * @throws {ConfigError} for a socket file that another process uses
 */
export async function operationsListenOptions({
  host,
  operationsPort,
  operationsUnixSocket,
}: Config): Promise<ListenOptions | undefined> {
  if (operationsUnixSocket) {
    await removeStaleSocket(operationsUnixSocket, "--operations-unix");
    return { unix: operationsUnixSocket };
  }
  return operationsPort > 0 ? { hostname: host, port: operationsPort, reusePort: false } : undefined;
}

export type ListenOptions =
  | { unix: string; tls?: Certificate }
  | { hostname: string; port: number; reusePort: boolean; tls?: Certificate };

/** In PEM. */
interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/**
 * Checked here, because Bun reports a mistake only in the words of OpenSSL.
 * @throws {ConfigError} for files that cannot be read, or that do not belong together
 */
export async function readCertificate(certificateFile: string, keyFile: string): Promise<Certificate> {
  const [cert, key] = await Promise.all([readPem(certificateFile), readPem(keyFile)]);
  // Loaded only with TLS: it costs 7 ms and 5 MiB at start.
  const { createPrivateKey, X509Certificate } = await import("node:crypto");
  if (
    !read(certificateFile, "a certificate", () => new X509Certificate(cert)).checkPrivateKey(
      read(keyFile, "a private key without a passphrase", () => createPrivateKey(key)),
    )
  ) {
    throw new ConfigError(`The key in ${keyFile} is not that of the certificate in ${certificateFile}`);
  }
  return { cert, key };
}

function read<Content>(file: string, what: string, parse: () => Content): Content {
  try {
    return parse();
  } catch (error) {
    throw new ConfigError(
      `${file} must hold ${what} in PEM: ${error instanceof Error ? error.message : error}`,
    );
  }
}

async function readPem(file: string): Promise<string> {
  try {
    return await Bun.file(file).text();
  } catch (error) {
    throw new ConfigError(`${file} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
}

/** A killed process leaves its socket file, and Bun then reports that the address is in use (oven-sh/bun#29166). */
async function removeStaleSocket(file: string, flag = "--unix"): Promise<void> {
  const { stat, unlink } = await import("node:fs/promises");
  const found = await stat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (!found) return;
  if (!found.isSocket()) throw new ConfigError(`${file} exists already and is not a socket`);
  if (await answers(file)) {
    throw new ConfigError(`Another process listens on ${file}: stop it, or choose another path with ${flag}`);
  }
  await unlink(file);
}

async function answers(socketFile: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ unix: socketFile, socket: { data: () => undefined } });
    socket.end();
    return true;
  } catch (error) {
    if (
      error instanceof Error &&
      "code" in error &&
      (error.code === "ECONNREFUSED" || error.code === "ENOENT")
    )
      return false;
    throw error;
  }
}

/** @throws {ConfigError} for an address that other machines can reach */
export function requireLoopback({ host, unixSocket }: Config): void {
  if (unixSocket || isLoopback(host)) return;
  throw new ConfigError(
    `Without a key anyone who reaches ${host} may publish and listen. Listen on loopback (--host 127.0.0.1), ` +
      "set a key (--api-key, --jwt-secret, …), or say --insecure",
  );
}
