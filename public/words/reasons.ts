/** The reasons that the server writes, in Chinese. An unknown one is shown as it is. */

const reasons: readonly (readonly [RegExp, string])[] = [
  [/^the server stops$/, "服务器正在停止"],
  [/^ended$/, "主题已结束"],
  [/^the token has expired$/, "令牌已过期"],
  [/^a fault of the server$/, "服务器发生故障"],
  [/^A token is needed.*$/, "需要令牌。"],
  [/^Not allowed to subscribe to (.+)\.$/, "没有订阅 $1 的权限。"],
  [/^Not allowed to publish to (.+)\.$/, "没有向 $1 发布的权限。"],
  [/^Not allowed to end (.+)\.$/, "没有结束 $1 的权限。"],
  [/^A message has at most (\d+) bytes.*$/, "一条消息最多 $1 字节（--max-message）。"],
  [/^Tokens cannot be checked now; try again\.$/, "暂时无法校验令牌，请重试。"],
  [/^The token has expired.*$/, "令牌已过期。"],
  [/^The token is not one that this server takes\.$/, "这台服务器不接受此令牌。"],
  [
    /^Pages of (.+) may not use this server\..*$/,
    "$1 的页面不能使用这台服务器，管理员可用 --origin $1 允许。",
  ],
  [/^this node is draining: come back, elsewhere$/i, "本节点正在排空，请重新连接"],
  [/^This node is draining; come back, elsewhere\.$/, "本节点正在排空，请重新连接。"],
  [/^All connections are taken .*$/, "连接数已达上限（--max-connections），请稍后再试。"],
  [/^more than (\d+) messages a second \(--max-rate\)$/, "每秒超过 $1 条消息（--max-rate）"],
  [/^The broker is away; try again\.$/, "引擎暂时不可用，请重试。"],
  [/^The topic (.+) has ended: nothing is published to it any more\.$/, "主题 $1 已结束，不能再向它发布。"],
  [/^The body has the type (\S+) and is not JSON: it ends too early\.$/, "内容的类型是 $1，但 JSON 不完整。"],
  [
    /^The body has the type (\S+) and is not JSON from column (\d+) on\.$/,
    "内容的类型是 $1，但从第 $2 列起不是 JSON。",
  ],
  [
    /^The body has the type (\S+) and is not JSON from line (\d+), column (\d+) on\.$/,
    "内容的类型是 $1，但从第 $2 行第 $3 列起不是 JSON。",
  ],
  [/^The body is not UTF-8\..*$/, "内容不是 UTF-8。"],
  [/^since must be .*$/s, "起点应为消息的 id、all、last:N、90s 这样的时长，或一个时间。"],
  [/^At most (\d+) topics go into one .*$/, "一次请求最多 $1 个主题。"],
  [
    /^Not allowed to read the status: .*$/,
    "没有读取状态的权限：请使用 API 密钥，或带有声明“status”: true 的令牌。",
  ],
  [/^A fault of the server; .*$/, "服务器发生故障，原因见服务器日志。"],
];

export function chineseReason(text: string): string {
  for (const [pattern, chinese] of reasons) if (pattern.test(text)) return text.replace(pattern, chinese);
  return text;
}
