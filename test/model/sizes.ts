/** The worlds that are explored, and where each rule shows that it is needed. */
import { type Action, after, beginning, type Course, checkSettled } from "./actions.ts";
import { type Rules, rules, type Setting, version01Rules } from "./scripts.ts";

export const settings = {
  /** One server with an append-only file, which may get a replica. */
  alone: { persistence: "aof", isPair: false, isLossless: false },
  /** A primary and a replica; each promotion counts as a possible loss. */
  pair: { persistence: "aof", isPair: true, isLossless: false },
  /** The same with --redis-acknowledge 1 and --redis-lossless-failover. */
  lossless: { persistence: "snapshot", isPair: true, isLossless: true },
} as const satisfies Record<string, Setting>;

/** Two servers, two nodes and one topic, in each setting. */
export const coursesOf = (messagesMax: number, faultsMax: number): readonly Course[] =>
  Object.values(settings).map((setting) => ({ rules, setting, messagesMax, faultsMax, isFine: false }));

const small = { messagesMax: 3, faultsMax: 2, isFine: false };

/** A way on which a promise is broken if one rule is left out. */
export interface Way {
  readonly setting: Setting;
  readonly nodes?: number;
  readonly isFine?: boolean;
  readonly trace: readonly Action[];
}

/** The append is lost at the first promotion, and its node appends again before it notices. */
const overtaken: Way = {
  setting: settings.lossless,
  isFine: true,
  trace: [
    ...([
      ["append", 0],
      ["split", 1, 1],
      ["follow", 0],
      ["promote", 0, 0],
      ["follow", 1],
    ] as const),
    ...([
      ["acknowledge", 0],
      ["append", 0],
      ["acknowledge", 0],
    ] as const),
  ],
};

/** The last append is lost, and another node appends. */
const powerCut: Way = {
  setting: settings.alone,
  trace: [
    ["append", 0],
    ["restart", 0, 1],
    ["append", 1, 1],
  ],
};

/** A client has been at the other side. */
const partition: Way = {
  setting: settings.pair,
  trace: [
    ["split", 1, 0],
    ["visit", 0, 1],
    ["append", 1],
  ],
};

interface Hole {
  readonly name: string;
  /** Are in the words of the violation. */
  readonly words: string;
  readonly course: Course;
  /** The first that an exploration finds. */
  readonly way: Way;
}

/** What the rules of version 0.1 let happen, with the faults that lead there. */
export const holesOfVersion01: readonly Hole[] = [
  {
    ...{ name: "a power cut, and a node that knows nothing goes on", words: "in silence", way: powerCut },
    course: { ...small, rules: version01Rules, setting: settings.alone, faults: ["restart"] },
  },
  {
    ...{ name: "an address that leads back to an old primary", words: "in silence" },
    course: { ...small, rules: version01Rules, setting: settings.pair, faults: ["split", "lead"] },
    way: {
      setting: settings.pair,
      trace: [
        ["split", 1, 0],
        ["append", 0, 1],
        ["lead", 0],
      ],
    },
  },
  {
    ...{ name: "a restart from a snapshot that passes for a promotion", words: "in silence" },
    course: {
      ...small,
      rules: { ...version01Rules, ahead: true },
      setting: settings.lossless,
      faults: ["restart"],
    },
    way: {
      setting: settings.lossless,
      trace: [
        ["append", 0],
        ["acknowledge", 0],
        ["restart", 0, 1],
        ["follow", 1],
        ["append", 1, 1],
      ],
    },
  },
  {
    ...{ name: "a replica whose place another has taken", words: "in silence" },
    course: {
      ...small,
      rules: { ...version01Rules, ahead: true },
      setting: settings.lossless,
      faults: ["replace", "promote"],
    },
    way: {
      setting: settings.lossless,
      trace: [
        ...([
          ["append", 0],
          ["replace", 1],
          ["acknowledge", 0],
          ["promote", 1, 0],
        ] as const),
        ...([
          ["follow", 0],
          ["append", 1, 1],
        ] as const),
      ],
    },
  },
  {
    ...{ name: "a partition in which both sides go on", words: "in silence", way: partition },
    course: { ...small, rules: version01Rules, setting: settings.pair, faults: ["split"] },
  },
  {
    ...{ name: "a client with an id that was announced and not acknowledged", words: "twice" },
    course: { ...small, rules: version01Rules, setting: settings.lossless, faults: ["promote"] },
    way: {
      setting: settings.lossless,
      trace: [
        ["append", 0],
        ["append", 1],
        ["visit", 0],
        ["promote", 1, 1],
      ],
    },
  },
];

export const waysWithout: Readonly<Record<keyof Rules, Way>> = {
  offsets: overtaken,
  late: overtaken,
  links: {
    setting: settings.alone,
    trace: [
      ["append", 0],
      ["restart", 0, 0],
    ],
  },
  holes: powerCut,
  seen: {
    setting: settings.lossless,
    trace: [
      ...([
        ["split", 1, 0],
        ["follow", 0],
        ["append", 0, 1],
        ["split", 0, 2],
        ["follow", 1],
      ] as const),
      ...([
        ["split", 1, 0],
        ["visit", 0],
        ["follow", 0],
        ["acknowledge", 0],
      ] as const),
    ],
  },
  seenReplid: {
    setting: settings.alone,
    nodes: 3,
    isFine: true,
    trace: [
      ...([
        ["restart", 0, 0],
        ["connect", 0],
        ["append", 0],
        ["acknowledge", 0],
        ["connect", 1],
      ] as const),
      ...([
        ["restartNode", 0],
        ["restart", 0, 2],
        ["connect", 2],
      ] as const),
    ],
  },
  acrossEpochs: partition,
  unverified: {
    setting: settings.alone,
    trace: [
      ...([
        ["visit", 0],
        ["append", 1],
        ["restartNode", 1],
        ["restart", 0, 1],
        ["listen", 0],
      ] as const),
      ["append", 1, 1],
    ],
  },
  ahead: {
    setting: settings.lossless,
    trace: [
      ["append", 0],
      ["append", 1],
      ["visit", 0],
      ["restart", 0, 1],
    ],
  },
};

/** @throws {Violation} */
export function goWay({ setting, nodes, isFine = false, trace }: Way, rules: Rules): void {
  const course: Course = { rules, setting, messagesMax: 9, faultsMax: 9, isFine };
  let world = beginning(course, 2, nodes);
  for (const action of trace) {
    world = after(world, action, course);
    checkSettled(world, course);
  }
}
