/** Certificates that sign themselves, made by openssl. */
import { commandOf } from "./tool.ts";

export interface CertificateFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** @param addresses of the server that will present it, as openssl writes them */
export async function makeCertificate(
  { certificateFile, keyFile }: CertificateFiles,
  name: string,
  addresses = "DNS:localhost,IP:127.0.0.1",
): Promise<void> {
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  const names = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=${addresses}`];
  const files = ["-keyout", keyFile, "-out", certificateFile];
  const made = Bun.spawn([commandOf("openssl"), "req", "-x509", ...kind, ...names, ...files], {
    stdout: "ignore",
    stderr: "pipe",
  });
  if ((await made.exited) !== 0) throw new Error(await new Response(made.stderr).text());
}
