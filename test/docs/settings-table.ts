/** `bun run settings`: writes the tables of docs/operations.md from the docstrings of src/settings/config.ts, as `--help` groups them. */
import { resolve } from "node:path";
import { settingGroups } from "../../src/command/setting-groups.ts";
import { type Setting, settings } from "../../src/settings/config.ts";
import { root } from "../support/server.ts";

const path = resolve(root, "docs/operations.md");
const [begin, end] = ["<!-- written by `bun run settings` -->\n", "<!-- end of what it writes -->\n"];

/** @returns the page, and the page with the tables as they are made now, both without what the formatter adds to tables */
export async function settingsPage(): Promise<{ readonly written: string; readonly made: string }> {
  const source = await Bun.file(resolve(root, "src/settings/config.ts")).text();
  const written = await Bun.file(path).text();
  const before = written.slice(0, written.indexOf(begin) + begin.length);
  const after = written.slice(written.indexOf(end));
  const tables = Object.entries(settingGroups).map(
    ([title, names]) =>
      `\n### ${title}\n\n| flag | what it is, and why |\n| --- | --- |\n${names.map((name) => row(name, source)).join("")}`,
  );
  return { written: compact(written), made: compact(`${before}${tables.join("")}\n${after}`) };
}

const compact = (page: string): string => page.replaceAll(/ +\|/g, " |").replaceAll(/\| -+(?= \|)/g, "| ---");

function row(name: keyof typeof settings, source: string): string {
  const { flag, unit }: Setting<unknown> = settings[name];
  const [, docstring = ""] =
    new RegExp(`/\\*\\*((?:(?!\\*/)[\\s\\S])*?)\\*/\\s*${name}: setting\\(`).exec(source) ?? [];
  const text = docstring
    .replaceAll(/\s*\n\s*\*? ?/g, " ")
    // The names of the library's options are flags here.
    .replaceAll(/`(\w+)`/g, (code, option) =>
      option in settings ? `\`--${settings[option as keyof typeof settings].flag}\`` : code,
    )
    .trim();
  return `| \`${`--${flag} ${unit.placeholder.replace(/.*\|.*/, "<word>")}`.trim()}\` | ${text} |\n`;
}

if (import.meta.main) {
  await Bun.write(path, (await settingsPage()).made);
  Bun.spawnSync([process.execPath, "x", "biome", "format", "--write", path]);
}
