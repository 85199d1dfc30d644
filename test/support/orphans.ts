/** Ends the servers that a test process leaves behind when it ends early, as `bun test --bail` does: Bun runs no hooks then. */
import type { Subprocess } from "bun";

/** Reads `+ <process number>` and `- <process number>` until its stdin ends with this process, then kills who is left. */
const program = `
  left=' '
  while read -r sign pid; do
    case $sign in
      +) left="$left$pid " ;;
      -) left="\${left%% $pid *} \${left#* $pid }" ;;
    esac
  done
  [ "$left" = ' ' ] || kill -9 $left`;

let watcher: Subprocess<"pipe", "ignore", "ignore"> | undefined;

/** @param child is killed if it lives longer than this process */
export function endWithTests(child: Subprocess): void {
  watcher ??= Bun.spawn(["sh", "-c", program], {
    detached: true, // An interrupt from the terminal would end it before it has ended the others.
    stdio: ["pipe", "ignore", "ignore"],
  });
  watcher.unref();
  const { stdin } = watcher;
  const tell = (sign: "+" | "-"): void => {
    stdin.write(`${sign} ${child.pid}\n`);
    void stdin.flush();
  };
  tell("+");
  void child.exited.then(() => tell("-"));
}
