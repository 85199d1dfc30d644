/** Programs of Debian that tests run. */

/** Finds a program. If it is missing, its tests are skipped, but on CI they fail. */
export function tool(
  name: string,
  debianPackage: string,
): { readonly command: string; readonly isMissing: boolean } {
  const path = Bun.which(name, { PATH: `${process.env.PATH}:/usr/sbin` });
  const isMissing = path === null && !process.env.CI;
  if (isMissing)
    console.warn(`SKIPPED: ${name} is not installed (Debian: apt-get install ${debianPackage}).`);
  return { command: path ?? name, isMissing };
}
