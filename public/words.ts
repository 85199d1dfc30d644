/** Every word the page says, in each of its languages. */
import type { LineState } from "./line.ts";

/** The words that index.html places by name (`data-words`, `data-words-label`, `data-words-placeholder`). */
export type StaticWord =
  | "tagline"
  | "echoTitle"
  | "roundTrip"
  | "reconnect"
  | "disconnect"
  | "logLabel"
  | "messageLabel"
  | "messagePlaceholder"
  | "asBytes"
  | "clear"
  | "sends"
  | "send";

export interface Words {
  /** As BCP 47 writes it. */
  readonly language: string;
  readonly title: string;
  readonly fixed: Readonly<Record<StaticWord, string>>;
  readonly states: Readonly<Record<LineState["name"], string>>;
  readonly kinds: Readonly<Record<"sent" | "received" | "note", string>>;
  /** What a close code means to the person who reads it. */
  readonly codes: Readonly<Record<number, string>>;
  readonly codeUnknown: string;
  readonly endedHere: string;
  readonly endedSilent: string;
  /** Stands where the text of a message without any would be. */
  readonly empty: string;
  readonly roundTripMeaning: string;
  readonly binaryMeaning: string;
  /** The line will not come back by itself. */
  readonly noRetry: string;
  readonly noteOpen: string;
  ending(code: number, meaning: string, reason: string): string;
  nextTry(seconds: number, tries: number): string;
  noteEnded(ending: string): string;
  bytes(count: number): string;
  moreCharacters(count: number): string;
}

const english: Words = {
  language: "en",
  title: "Longwire: a line you can test",
  fixed: {
    tagline: "A line you can test: “ping” gets “pong”, all else comes back as it went.",
    echoTitle: "The echo line",
    roundTrip: "Round trip",
    reconnect: "Reconnect now",
    disconnect: "Disconnect",
    logLabel: "Messages",
    messageLabel: "Message",
    messagePlaceholder: "Write a message…",
    asBytes: "Send as bytes",
    clear: "Clear log",
    sends: "sends",
    send: "Send",
  },
  states: {
    connecting: "Connecting",
    open: "Open",
    closing: "Closing",
    waiting: "Closed",
    closed: "Closed",
  },
  kinds: { sent: "Sent", received: "Received", note: "Note" },
  codes: {
    1000: "the server closed the line",
    1001: "the server is stopping",
    1002: "the WebSocket framing was broken",
    1003: "the server does not take this kind of data",
    1005: "closed without a code",
    1006: "the connection was lost or refused",
    1007: "a text was not valid UTF-8",
    1008: "a rule of the server was broken",
    1009: "the message was larger than the server takes",
    1010: "an extension is missing",
    1011: "the server had a fault",
    1012: "the server is restarting",
    1013: "the server has no room at the moment",
    4401: "the token is missing, wrong or expired",
    4403: "this is not allowed",
    4410: "what was missed is no longer kept",
  },
  codeUnknown: "the server closed the line",
  endedHere: "closed from here",
  endedSilent: "no answer from the server",
  empty: "(empty)",
  roundTripMeaning: "From sending a message until its answer arrived, as measured in this page",
  binaryMeaning: "The text goes as UTF-8 in a binary message",
  noRetry: "It does not come back by itself.",
  ending: (code, meaning, reason) => `${code}: ${meaning}${reason === "" ? "" : ` (“${reason}”)`}`,
  nextTry: (seconds, tries) =>
    `${seconds === 0 ? "Next try now" : `Next try in ${seconds} s`}${tries > 1 ? `, ${tries} tries have failed` : ""}`,
  noteOpen: "The line is open",
  noteEnded: (ending) => `The line is closed, ${ending}`,
  bytes: (count) => (count === 1 ? "1 byte:" : `${count} bytes:`),
  moreCharacters: (count) => `… and ${count} characters more`,
};

const chinese: Words = {
  language: "zh-CN",
  title: "Longwire：可以亲手测试的长连接",
  fixed: {
    tagline: "可以亲手测试的长连接：发送“ping”会得到“pong”，其他内容原样返回。",
    echoTitle: "回显连接",
    roundTrip: "往返时间",
    reconnect: "立即重连",
    disconnect: "断开",
    logLabel: "消息记录",
    messageLabel: "消息",
    messagePlaceholder: "输入消息…",
    asBytes: "以字节发送",
    clear: "清空记录",
    sends: "发送",
    send: "发送",
  },
  states: {
    connecting: "正在连接",
    open: "已连接",
    closing: "正在断开",
    waiting: "已断开",
    closed: "已断开",
  },
  kinds: { sent: "已发送", received: "已收到", note: "提示" },
  codes: {
    1000: "服务器关闭了连接",
    1001: "服务器正在停止",
    1002: "WebSocket 帧格式有误",
    1003: "服务器不接受这种数据",
    1005: "连接已关闭，未说明代码",
    1006: "连接中断或被拒绝",
    1007: "文本不是有效的 UTF-8",
    1008: "违反了服务器的规则",
    1009: "消息超过了服务器允许的大小",
    1010: "缺少所需的扩展",
    1011: "服务器发生故障",
    1012: "服务器正在重启",
    1013: "服务器暂时没有余量",
    4401: "令牌缺失、无效或已过期",
    4403: "没有权限",
    4410: "错过的消息已不再保留",
  },
  codeUnknown: "服务器关闭了连接",
  endedHere: "由本页断开",
  endedSilent: "服务器没有应答",
  empty: "（空消息）",
  roundTripMeaning: "从发送消息到收到应答的时间，由本页测量",
  binaryMeaning: "文本以 UTF-8 编码，作为二进制消息发送",
  noRetry: "不会自动重连。",
  ending: (code, meaning, reason) => `${code}：${meaning}${reason === "" ? "" : `（“${reason}”）`}`,
  nextTry: (seconds, tries) =>
    `${seconds === 0 ? "即将重试" : `${seconds} 秒后重试`}${tries > 1 ? `，已失败 ${tries} 次` : ""}`,
  noteOpen: "已连接",
  noteEnded: (ending) => `已断开，${ending}`,
  bytes: (count) => `${count} 字节：`,
  moreCharacters: (count) => `… 另有 ${count} 个字符`,
};

/** The first of a person's languages that the page speaks, and English if it speaks none of them. */
export function chooseWords(languages: readonly string[]): Words {
  for (const language of languages) {
    const [primary] = language.toLowerCase().split("-");
    if (primary === "zh") return chinese;
    if (primary === "en") return english;
  }
  return english;
}
