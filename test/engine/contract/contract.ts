/**
 * The requirements of `topic/broker.ts`, tested through the interface alone. An engine's own test file is a few lines that
 * call `describeBrokerContract`. No part looks inside an engine, and none has a clock of its own: `Abilities` says what an
 * engine can be made to do.
 */
import { afterAll, describe, setDefaultTimeout } from "bun:test";
import { describeAnnouncing } from "./announcing.ts";
import { describeAttributes } from "./attributes.ts";
import { describeAway } from "./away.ts";
import { describeClosed } from "./closed.ts";
import { describeContent } from "./content.ts";
import { describeEnd } from "./end.ts";
import { type Abilities, Contract, type Engine, type OpenEngine } from "./engine.ts";
import { describeFeeds } from "./feeds.ts";
import { describeHistory } from "./history.ts";
import { describeIdempotency } from "./idempotency.ts";
import { describeKeyed } from "./keyed.ts";
import { describeLostMemory } from "./lost-memory.ts";
import { describeOrder } from "./order.ts";
import { describePages } from "./pages.ts";
import { describePresence } from "./presence.ts";
import { describeReading } from "./reading.ts";
import { describeRetention } from "./retention.ts";
import { describeSeveral } from "./several.ts";
import { describeStream } from "./stream.ts";
import { describeSubscribing } from "./subscribing.ts";
import { describeTime } from "./time.ts";
import { describeUnsubscribing } from "./unsubscribing.ts";

setDefaultTimeout(120_000);

/** @param name Names the engine in the test output. */
export function describeBrokerContract<Kind extends Engine>(
  name: string,
  openEngine: OpenEngine<Kind>,
  can: Abilities<Kind>,
): void {
  const contract = new Contract(openEngine, can);
  describe(name, () => {
    afterAll(contract.close);
    describeOrder(contract);
    describeContent(contract);
    describeAttributes(contract);
    describeIdempotency(contract);
    describeStream(contract);
    describeSeveral(contract);
    describeEnd(contract);
    describeKeyed(contract);
    describeFeeds(contract);
    describePresence(contract);
    describeHistory(contract);
    describeRetention(contract);
    describeTime(contract);
    describePages(contract);
    describeReading(contract);
    describeSubscribing(contract);
    describeAnnouncing(contract);
    describeUnsubscribing(contract);
    describeLostMemory(contract);
    describeAway(contract);
    describeClosed(contract);
  });
}
