/** The topics panel: follows topics through every disconnect, publishes to them, and cuts the line on purpose. */
import { useEffect } from "preact/hooks";
import { words } from "../ground/words.ts";
import { EndingHelp, LineStatus } from "../line/status.tsx";
import type { Entry } from "../log/entry.ts";
import { Log } from "../log/log.tsx";
import type { ServerStatus } from "../server/status.ts";
import { TopicList } from "../server/topic-list.tsx";
import { faultOfChoice, form, readLink, since, topicNames, topicsText } from "./choice.ts";
import { Composer } from "./composer.tsx";
import { CopyAs } from "./copy-as.tsx";
import { Flow } from "./flow.ts";
import { KeyTable } from "./key-table.tsx";
import { ProofBar } from "./proof-bar.tsx";
import { Publisher } from "./publisher.ts";
import { Run, type RunKind } from "./run.ts";
import { SubscribeForm } from "./subscribe-form.tsx";
import { Subscription } from "./subscription.ts";
import { WhoIsHere } from "./who-is-here.tsx";
import { Wire } from "./wire.tsx";

/** The parts of the panel, which outlive it: it is not shown while another is. */
export class Topics {
  readonly flow = new Flow();
  readonly subscription = new Subscription(this.flow);
  readonly publisher = new Publisher(this.subscription, this.flow);
  readonly run = new Run(this.subscription, this.publisher);

  /** @returns whether the choice in the form is one that a server takes */
  subscribe(): boolean {
    if (faultOfChoice(topicsText.peek(), form.peek()) !== undefined) return false;
    const topics = topicNames(topicsText.peek());
    const followed = this.subscription.choice.peek();
    const member = followed.topics.join() === topics.join() ? followed.member : "";
    this.subscription.start({ topics, form: form.peek(), since: since.peek().trim(), member });
    return true;
  }

  follow(topic: string): void {
    topicsText.value = topic;
    this.subscribe();
  }

  /** Subscribes first if that has not been done. */
  runNow(kind: RunKind): void {
    const { subscription, run } = this;
    const { name } = subscription.state.peek();
    const followed = subscription.choice.peek();
    const isOther = followed.topics.join() !== topicNames(topicsText.peek()).join();
    // Without ids nothing can be proved.
    if (form.peek() === "raw") form.value = "cloudevents";
    if ((name === "closed" || isOther || followed.form === "raw") && !this.subscribe()) return;
    void run.start(kind);
  }

  again({ data, contentType = "text/plain", type, topic, attributes }: Entry): void {
    const topics = topic?.split(", ") ?? this.subscription.choice.peek().topics;
    const all = { ...attributes, ...(type === undefined ? {} : { type }) };
    void this.publisher.publish({ topics, body: data, contentType, attributes: all, ends: false });
  }
}

interface TopicsPanelProps {
  readonly topics: Topics;
  readonly status: ServerStatus;
}

export function TopicsPanel({ topics, status }: TopicsPanelProps) {
  const { flow, subscription, publisher, run } = topics;
  const say = words.value;
  const state = subscription.state.value;
  const engine = status.samples.value.at(-1)?.engine;
  useEffect(() => {
    if (readLink()) topics.subscribe();
  }, [topics]);
  return (
    <section class="panel" id="topics" aria-labelledby="topics-title">
      <header class="heading">
        <h2 id="topics-title">{say.topicsTitle}</h2>
        <p>{say.topicsMeaning}</p>
      </header>
      <SubscribeForm onSubmit={() => topics.subscribe()} />
      <Wire flow={flow} isOpen={state.name === "open"} />
      <ProofBar
        subscription={subscription}
        isCut={flow.isCut.value}
        run={run}
        onRun={(kind) => topics.runNow(kind)}
      />
      <LineStatus
        line={subscription}
        state={state}
        address={subscription.url.value?.href}
        roundTripMilliseconds={subscription.roundTripMilliseconds.value}
        unused={say.notSubscribed}
        trouble={
          engine?.available === false ? say.engineTrouble(engine.kind, engine.reason ?? "") : undefined
        }
      />
      <div class="logs">
        <Log
          store={subscription.log}
          hasTopics
          guide={
            <>
              <p>{say.guide}</p>
              <TopicList status={status} onFollow={(topic) => topics.follow(topic)} />
            </>
          }
          onResend={(entry) => topics.again(entry)}
        />
        <KeyTable keys={subscription.keys} log={subscription.log} />
        <WhoIsHere subscription={subscription} />
      </div>
      <EndingHelp state={state} />
      <Composer publisher={publisher}>
        <CopyAs cursor={subscription.cursor} state={state} />
      </Composer>
    </section>
  );
}
