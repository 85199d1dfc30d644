/** The version of an installed Debian package, where there is dpkg to ask. */
export function debianVersion(name: string): string {
  if (Bun.which("dpkg-query") === null) return "of unknown version";
  const query = Bun.spawnSync(["dpkg-query", "--show", "--showformat", `\${Version}`, name]);
  return query.success ? query.stdout.toString() : "of unknown version";
}
