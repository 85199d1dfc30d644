/** The version of an installed Debian package, if the machine has dpkg. */
export function debianVersion(name: string): string {
  if (Bun.which("dpkg-query") === null) return "of unknown version";
  const query = Bun.spawnSync(["dpkg-query", "--show", "--showformat", `\${Version}`, name]);
  return query.success ? query.stdout.toString() : "of unknown version";
}
