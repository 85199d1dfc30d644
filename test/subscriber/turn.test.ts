/** The end of a turn of the event loop, at which event streams write. */
import { expect, test } from "bun:test";
import { createLogger } from "../../src/log.ts";
import { type GatheringStream, Turn } from "../../src/subscriber/turn.ts";

const fail = (): never => {
  throw new Error("the stream is abandoned");
};

test("what several streams write in one turn is encoded and joined once for all of them", () => {
  const turn = new Turn(createLogger("silent"));
  const chunks = [turn.encode("event: one\n\n"), turn.encode("event: two\n\n")];
  turn.add({ flush: () => undefined, abandon: fail });
  expect([turn.encode("event: one\n\n"), turn.encode("event: two\n\n")]).toEqual(chunks);
  expect(turn.encode("event: one\n\n")).toBe(chunks[0] as Uint8Array<ArrayBuffer>);
  const joined = turn.join(chunks);
  expect(new TextDecoder().decode(joined)).toBe("event: one\n\nevent: two\n\n");
  expect(turn.join([...chunks])).toBe(joined);
});

test("a stream that encodes or gathers while it writes is written to in the next turn", async () => {
  const turn = new Turn(createLogger("silent"));
  const again = Promise.withResolvers<string>();
  const stream: GatheringStream = {
    flush: () => {
      turn.encode("event: one\n\n");
      turn.add({ flush: () => again.resolve("written"), abandon: fail });
    },
    abandon: fail,
  };
  turn.encode("event: one\n\n");
  turn.add(stream);
  expect(await again.promise).toBe("written");
});
