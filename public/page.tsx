/** The page: makes its parts and shows them. */
import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./app.tsx";
import { theme } from "./ground/settings.ts";
import { Latency } from "./latency/latency.ts";
import { TestLine } from "./line/test-line.ts";
import { ServerStatus } from "./server/status.ts";
import { Topics } from "./topics/panel.tsx";

const place = document.querySelector("#page");
if (!place) throw new Error("index.html has no place for the page");

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

const latency = new Latency();
const status = new ServerStatus();
latency.start();
status.start();
render(<App topics={new Topics()} line={new TestLine()} latency={latency} status={status} />, place);
