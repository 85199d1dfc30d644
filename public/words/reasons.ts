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
];

export function chineseReason(text: string): string {
  for (const [pattern, chinese] of reasons) if (pattern.test(text)) return text.replace(pattern, chinese);
  return text;
}
