/** For a companion (companion.ts): its stdin ends when it is to finish. */
export class Stdin {
  hasEnded = false;

  constructor() {
    process.stdin.on("end", () => {
      this.hasEnded = true;
    });
    process.stdin.resume();
  }
}
