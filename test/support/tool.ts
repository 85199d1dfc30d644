/**
 * Programs that tests run and that a machine may lack. A test asks for them here, is skipped where one is missing, and the
 * end of the run tells what was left out. `bun run test/support/tool.ts` prints what is missing: a line of Debian packages, and a
 * line of packages of npm.
 */

interface Tool {
  /** The commands that will do, the first one installed is used. The name of the tool if left out. */
  readonly commands?: readonly string[];
  /** The command succeeds with these arguments if it can do what tests ask of it. */
  readonly trial?: readonly string[];
  /** None if no package helps. */
  readonly debianPackages?: readonly string[];
  /** For programs that are too large to be installed with the dependencies of the project. */
  readonly npmPackages?: readonly string[];
}

const tools = {
  caddy: { debianPackages: ["caddy"] },
  cc: {
    trial: ["-fsyntax-only", "-include", "dlfcn.h", "-include", "linux/seccomp.h", "-x", "c", "/dev/null"],
    debianPackages: ["gcc", "libc6-dev"],
  },
  // The shell has no window, which costs a third of the processor time.
  chromium: {
    commands: [
      "chromium-headless-shell",
      "chromium",
      "chromium-browser",
      "google-chrome",
      "google-chrome-stable",
    ],
    debianPackages: ["chromium-headless-shell", "fonts-noto-cjk"],
  },
  curl: { debianPackages: ["curl"] },
  "firefox-esr": { debianPackages: ["firefox-esr"] },
  haproxy: { debianPackages: ["haproxy"] },
  nginx: { debianPackages: ["nginx"] },
  "Node 20.10": {
    commands: ["node"],
    trial: ["--experimental-websocket", "--eval", ""],
    debianPackages: ["nodejs"],
  },
  "npm and its registry": {
    commands: ["npm"],
    trial: ["view", "bun@1.4.5", "version", "--prefer-offline", "--fetch-retries=1", "--fetch-timeout=10000"],
  },
  // 213 packages, 74 MB.
  prism: { npmPackages: ["@stoplight/prism-cli@5.16.0"] },
  openssl: { debianPackages: ["openssl"] },
  promtool: { debianPackages: ["prometheus"] },
  // Debian's own Python, because python3-websockets is for that one.
  "Python's websockets": {
    commands: ["/usr/bin/python3"],
    trial: ["-c", "import websockets"],
    debianPackages: ["python3", "python3-websockets"],
  },
  "redis-server": { debianPackages: ["redis-server"] },
  "root's right to mount": { commands: ["unshare"], trial: ["--mount", "true"] },
  "systemd-analyze": { debianPackages: ["systemd"] },
} as const satisfies Record<string, Tool>;

export type ToolName = keyof typeof tools;

const names = Object.keys(tools) as ToolName[];
const found = new Map<ToolName, string | undefined>();

/** The path of a program that the machine has. */
export function commandOf(name: ToolName): string {
  const command = find(name);
  if (command === undefined) throw new Error(`This needs ${name}.${howToInstall([name])}`);
  return command;
}

/** A test that needs these is skipped if this is true. */
export const lacks = (...needed: readonly ToolName[]): boolean =>
  needed.filter((name) => find(name) === undefined).length > 0;

/** The tools that this machine lacks, of those that were asked for in this process. */
export const missedHere = (): ToolName[] =>
  names.filter((name) => found.has(name) && found.get(name) === undefined);

/** Every tool that this machine lacks. */
export const missing = (): ToolName[] => names.filter((name) => find(name) === undefined);

/**
 * @param tests that were not run, as words
 * @returns the paragraph at the end of a run
 */
export const leftOut = (tests: string, missed: readonly ToolName[]): string =>
  `\nLeft out: ${tests}, for want of ${missed.join(", ")}.${howToInstall(missed)}`;

/** Empty if no package helps. */
function howToInstall(missed: readonly ToolName[]): string {
  const { debian, npm } = packagesOf(missed);
  const commands = [
    ...(debian.length > 0 ? [`apt-get install ${debian.join(" ")}`] : []),
    ...(npm.length > 0 ? [`npm install --global ${npm.join(" ")}`] : []),
  ];
  return commands.length === 0 ? "" : ` To install what they need: ${commands.join(" && ")}`;
}

function find(name: ToolName): string | undefined {
  if (!found.has(name)) {
    const { commands = [name], trial }: Tool = tools[name];
    const PATH = `${process.env.PATH}:/usr/sbin:/sbin`; // Where Debian has nginx and haproxy.
    const command = commands.map((each) => Bun.which(each, { PATH })).find((path) => path !== null);
    const isFit =
      command !== undefined &&
      (trial === undefined ||
        Bun.spawnSync([command, ...trial], { stdout: "ignore", stderr: "ignore" }).success);
    found.set(name, isFit ? command : undefined);
  }
  return found.get(name);
}

function packagesOf(missed: readonly ToolName[]): Record<"debian" | "npm", string[]> {
  const needed = missed.map((name): Tool => tools[name]);
  return {
    debian: needed.flatMap(({ debianPackages = [] }) => debianPackages),
    npm: needed.flatMap(({ npmPackages = [] }) => npmPackages),
  };
}

if (import.meta.main) {
  const { debian, npm } = packagesOf(missing());
  console.log(`${debian.join(" ")}\n${npm.join(" ")}`);
}
