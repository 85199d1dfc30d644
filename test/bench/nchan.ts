/** nginx with the nchan module, from Debian's packages, in a directory of its own. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../support/free-port.ts";
import { debianVersion } from "./debian-version.ts";
import type { Preparation } from "./peer.ts";

const module = "/usr/lib/nginx/modules/ngx_nchan_module.so";

export async function nchan(): Promise<Preparation> {
  // Debian puts it in a directory that is only in the PATH of root.
  const nginx = Bun.which("nginx", { PATH: `${process.env.PATH}:/usr/sbin` });
  if (nginx === null) return { missing: "nginx is not installed (Debian: nginx)" };
  if (!existsSync(module)) return { missing: `${module} is missing (Debian: libnginx-mod-nchan)` };
  const directory = mkdtempSync(join(tmpdir(), "longwire-bench-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const port = await freePort(); // nginx cannot choose one itself.
  const template = await Bun.file(join(import.meta.dir, "peers/nchan/nginx.conf")).text();
  const values: Readonly<Record<string, string>> = { module, directory, port: String(port) };
  const configuration = join(directory, "nginx.conf");
  writeFileSync(
    configuration,
    template.replaceAll(/{{(\w+)}}/g, (placeholder, name: string) => values[name] ?? placeholder),
  );
  const version = Bun.spawnSync([nginx, "-v"]).stderr.toString().trim().split("/").at(-1);
  return {
    command: [nginx, "-p", directory, "-c", configuration, "-e", "stderr"],
    version: `nginx ${version}, nchan ${debianVersion("libnginx-mod-nchan")}`,
    port,
  };
}
