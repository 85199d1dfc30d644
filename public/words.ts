/** Every text of the page, in each of its languages. */
import type { Ending, LineState } from "./line.ts";
import type { TopicNameFault } from "./topic-name.ts";

/** The words that index.html places by name (`data-words`, `data-words-label`, `data-words-placeholder`). */
export type StaticWord =
  | "tagline"
  | "echoTitle"
  | "echoMeaning"
  | "topicsTitle"
  | "topicsMeaning"
  | "topicLabel"
  | "subscribe"
  | "cut"
  | "comeBack"
  | "guide"
  | "asJson"
  | "publishes"
  | "publish"
  | "shellTitle"
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

/** The kinds of log entries. `complete`: nothing is missing; `gap`: messages are gone; `error`: something failed. */
export type EntryKind = "sent" | "received" | "note" | "complete" | "gap" | "error";

export interface Words {
  /** A BCP 47 tag. */
  readonly language: string;
  readonly title: string;
  readonly fixed: Readonly<Record<StaticWord, string>>;
  readonly states: Readonly<Record<LineState["name"], string>>;
  readonly kinds: Readonly<Record<EntryKind, string>>;
  /** The meaning of each close code. */
  readonly codes: Readonly<Record<number, string>>;
  readonly codeUnknown: string;
  /** The meaning of an end that did not come from the server, by its cause. */
  readonly endings: Readonly<Record<Exclude<Ending["cause"], "remote">, string>>;
  /** Shown in place of the text of an empty message. */
  readonly empty: string;
  readonly roundTripMeaning: string;
  /** The state of a line that was never connected. */
  readonly notSubscribed: string;
  readonly binaryMeaning: string;
  /** The page will not reconnect by itself. */
  readonly noRetry: string;
  readonly noteOpen: string;
  ending(code: number, meaning: string, reason: string): string;
  nextTry(seconds: number, tries: number): string;
  noteEnded(ending: string): string;
  bytes(count: number): string;
  moreCharacters(count: number): string;
  readonly topicFaults: Readonly<Record<TopicNameFault, string>>;
  readonly jsonMeaning: string;
  readonly cutMeaning: string;
  /** The message in a command while none is typed. */
  readonly curlText: string;
  /** Shown in place of the id of a message that was not published, or whose outcome is unknown. */
  readonly refused: string;
  readonly unknown: string;
  readonly noAnswer: string;
  readonly noteCut: string;
  noteSubscribed(topic: string, id: string): string;
  noteResumed(id: string): string;
  noteTopicEnded(topic: string, id: string): string;
  noteComplete(missedCount: number): string;
  notCounted(reason: string): string;
  gap(requested: string, from: string): string;
  /** A fault of the server: `id` arrived after `previousId`, and is not a later id. */
  notAfter(previousId: string, id: string): string;
  notPublished(reason: string): string;
  perhapsPublished(reason: string): string;
}

const english: Words = {
  language: "en",
  title: "Longwire: a line you can test",
  fixed: {
    tagline: "A line you can test. A topic is a URL. Nothing is lost in silence.",
    echoTitle: "The echo line",
    echoMeaning: "“ping” gets “pong”. Everything else comes back unchanged.",
    topicsTitle: "Topics",
    topicsMeaning: "A message posted to a topic’s URL reaches everyone connected to it.",
    topicLabel: "Topic",
    subscribe: "Subscribe",
    cut: "Cut the line",
    comeBack: "Come back now",
    guide:
      "Subscribe and publish a message. Then cut the line and publish more. When the line is back, it receives exactly the messages that it missed.",
    asJson: "Send as JSON",
    publishes: "publishes",
    publish: "Publish",
    shellTitle: "The same in a shell",
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
  kinds: {
    sent: "Sent",
    received: "Received",
    note: "Note",
    complete: "Complete",
    gap: "Gap",
    error: "Error",
  },
  codes: {
    1000: "the server closed the line",
    1001: "the server is stopping",
    1002: "the WebSocket framing was broken",
    1003: "the server does not accept this kind of data",
    1005: "closed without a code",
    1006: "the connection was lost or refused",
    1007: "a text message was not valid UTF-8",
    1008: "a rule of the server was broken",
    1009: "the message was larger than the server accepts",
    1010: "an extension is missing",
    1011: "the server had a fault",
    1012: "the server is restarting",
    1013: "the server is over a limit at the moment",
    4401: "the token is missing, wrong or expired",
    4403: "this is not allowed",
    4409: "a message was sent to a topic that has ended",
    4410: "the missed messages are no longer kept",
  },
  codeUnknown: "the server closed the line",
  endings: { own: "closed by this page", silent: "no answer from the server", cut: "cut on purpose" },
  empty: "(empty)",
  roundTripMeaning: "The time from sending a message to receiving its answer, measured in this page",
  notSubscribed: "Not subscribed",
  binaryMeaning: "The text is sent as UTF-8 in a binary message",
  noRetry: "The page does not reconnect by itself.",
  ending: (code, meaning, reason) => `${code}: ${meaning}${reason === "" ? "" : ` (“${reason}”)`}`,
  nextTry: (seconds, tries) =>
    `${tries === 0 ? `Reconnects in ${seconds} s` : seconds === 0 ? "Next try now" : `Next try in ${seconds} s`}${tries > 1 ? `, ${tries} tries have failed` : ""}`,
  noteOpen: "The line is open",
  noteEnded: (ending) => `The line is closed, ${ending}`,
  bytes: (count) => (count === 1 ? "1 byte:" : `${count} bytes:`),
  moreCharacters: (count) => `… and ${count} characters more`,
  topicFaults: {
    empty: "A topic needs a name, such as news or chat/room/42.",
    long: "A topic’s name has at most 200 characters and 600 bytes of UTF-8.",
    emptyPart: "A topic’s name needs text before and after each “/”, such as chat/room/42.",
    dots: "No part of a topic’s name can be “.” or “..”: a URL does not keep them.",
    characters: "A topic’s name has only letters, marks, digits, . _ ~ : - and “/” between its parts.",
    form: "A topic’s name must be in the Unicode normalization form NFC.",
  },
  jsonMeaning: "Content-Type: application/json instead of text/plain",
  cutMeaning: "Drops the connection as a lost network would, and reconnects after 10 s",
  curlText: "hello",
  refused: "not published",
  unknown: "unknown",
  noAnswer: "The server did not answer",
  noteSubscribed: (topic, id) => `Subscribed to ${topic}. Messages after ${id} follow`,
  noteCut: "The line is cut. Messages published now are missed until it is back",
  noteResumed: (id) => `The line is back and continues after ${id}`,
  noteTopicEnded: (topic, id) => `${topic} has ended, at ${id}. Nothing follows`,
  noteComplete: (count) =>
    count === 0
      ? "Complete: nothing was missed"
      : count === 1
        ? "Complete: the 1 missed message was delivered"
        : `Complete: all ${count} missed messages were delivered`,
  notCounted: (reason) => `The number of missed messages could not be read. ${reason}`,
  gap: (requested, from) =>
    `Messages after ${requested} are no longer kept. The topic continues after ${from}`,
  notAfter: (previousId, id) => `A fault of the server: ${id} arrived after ${previousId}`,
  notPublished: (reason) => `Not published. ${reason}`,
  perhapsPublished: (reason) => `It is unknown whether this was published. ${reason}`,
};

const chinese: Words = {
  language: "zh-CN",
  title: "Longwire：可以亲手测试的长连接",
  fixed: {
    tagline: "可以亲手测试的长连接。主题就是 URL。消息不会无声丢失。",
    echoTitle: "回显连接",
    echoMeaning: "发送“ping”会得到“pong”，其他内容原样返回。",
    topicsTitle: "主题",
    topicsMeaning: "发到主题 URL 的内容，会送达所有连接到它的客户端。",
    topicLabel: "主题",
    subscribe: "订阅",
    cut: "切断连接",
    comeBack: "立即恢复",
    guide: "先订阅并发布一条消息，再切断连接并继续发布：连接恢复时，会补上错过的每一条消息。",
    asJson: "以 JSON 发送",
    publishes: "发布",
    publish: "发布",
    shellTitle: "在命令行中做同样的事",
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
  kinds: {
    sent: "已发送",
    received: "已收到",
    note: "提示",
    complete: "完整",
    gap: "缺口",
    error: "错误",
  },
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
    1013: "服务器暂时超过了限额",
    4401: "令牌缺失、无效或已过期",
    4403: "没有权限",
    4409: "向已结束的主题发送了消息",
    4410: "错过的消息已不再保留",
  },
  codeUnknown: "服务器关闭了连接",
  endings: { own: "由本页断开", silent: "服务器没有应答", cut: "有意切断" },
  empty: "（空消息）",
  notSubscribed: "未订阅",
  roundTripMeaning: "从发送消息到收到应答的时间，由本页测量",
  binaryMeaning: "文本以 UTF-8 编码，作为二进制消息发送",
  noRetry: "不会自动重连。",
  ending: (code, meaning, reason) => `${code}：${meaning}${reason === "" ? "" : `（“${reason}”）`}`,
  nextTry: (seconds, tries) =>
    `${tries === 0 ? `${seconds} 秒后恢复` : seconds === 0 ? "即将重试" : `${seconds} 秒后重试`}${tries > 1 ? `，已失败 ${tries} 次` : ""}`,
  noteOpen: "已连接",
  noteEnded: (ending) => `已断开，${ending}`,
  bytes: (count) => `${count} 字节：`,
  moreCharacters: (count) => `… 另有 ${count} 个字符`,
  topicFaults: {
    empty: "主题需要名称，例如 news 或 chat/room/42。",
    long: "主题名称最多 200 个字符、600 字节（UTF-8）。",
    emptyPart: "每个“/”的前后都要有内容，例如 chat/room/42。",
    dots: "主题名称的任何一段都不能是“.”或“..”，因为 URL 不会保留它们。",
    characters: "主题名称只能包含各种文字的字母、附加符号和数字，以及 . _ ~ : -，各部分之间用“/”分隔。",
    form: "主题名称必须采用 Unicode 规范化形式 NFC。",
  },
  jsonMeaning: "Content-Type 为 application/json，而不是 text/plain",
  cutMeaning: "像网络中断一样切断连接，10 秒后自动恢复",
  curlText: "你好",
  refused: "未发布",
  unknown: "未知",
  noAnswer: "服务器没有应答",
  noteSubscribed: (topic, id) => `已订阅 ${topic}，从 ${id} 之后开始`,
  noteCut: "连接已切断。此后发布的消息会错过，恢复时补上",
  noteResumed: (id) => `已恢复，从 ${id} 之后继续`,
  noteTopicEnded: (topic, id) => `${topic} 已结束，结束于 ${id}，之后不再有消息`,
  noteComplete: (count) =>
    count === 0 ? "完整：没有错过任何消息" : `完整：错过的 ${count} 条消息已全部补上`,
  notCounted: (reason) => `无法查询错过了多少条消息。${reason}`,
  gap: (requested, from) => `${requested} 之后的消息已不再保留，从 ${from} 之后继续`,
  notAfter: (previousId, id) => `服务器出错：${previousId} 之后到达的是 ${id}`,
  notPublished: (reason) => `未发布。${reason}`,
  perhapsPublished: (reason) => `无法确定是否已发布。${reason}`,
};

/** The first of the given languages (BCP 47) that the page has texts in, else English. */
export function chooseWords(languages: readonly string[]): Words {
  for (const language of languages) {
    const [primary] = language.toLowerCase().split("-");
    if (primary === "zh") return chinese;
    if (primary === "en") return english;
  }
  return english;
}
