/** The wire, drawn: messages travel from their publisher over the server to this page, and wait at the server at a cut. */
import { useEffect, useRef } from "preact/hooks";
import { words } from "../ground/words.ts";
import type { Dot, Flow } from "./flow.ts";

interface WireProps {
  readonly flow: Flow;
  readonly isOpen: boolean;
}

/** They look like a stream. Each costs time in every frame, which a person who types waits for. */
const dotsMax = 12;

const waitingPerColumn = 5;
const waitingShownMax = 40;

const isStill = matchMedia("(prefers-reduced-motion: reduce)");

export function Wire({ flow, isOpen }: WireProps) {
  const dots = useRef<SVGGElement>(null);
  const say = words.value;
  const isCut = flow.isCut.value;
  const waiting = flow.waiting.value;
  useEffect(() => {
    flow.onChange = () => {
      for (const dot of flow.dots.splice(0)) if (dots.current) travel(dots.current, dot);
    };
    return () => {
      flow.onChange = undefined;
    };
  }, [flow]);
  return (
    <figure class="wire" data-part="wire" data-wire={isCut ? "cut" : isOpen ? "whole" : "none"}>
      <svg viewBox="0 16 600 184" role="img" aria-label={isCut ? say.wireCut : say.wirePage}>
        <path class="line" d="M100 140Q200 184 300 140" />
        <path class="line last" d="M300 140Q400 184 500 140" pathLength="100" />
        <path
          class="fray"
          d="M372 160q7 1 12-8M372 160h14M372 160q7 1 12 10M437 159q-7 1-12-8M437 159h-14M437 159q-7 1-12 10"
        />
        <g ref={dots} />
        <Node x={100} sign="M-8 8 8-8M-8 8l6-2" />
        <Node x={300} sign="M-10-7H10M-10 0H10M-10 7H10" />
        <Node x={500} sign="M-12-9h24v15h-24zM-5 11h10" />
        <g class="waiting">
          {waitingPlaces(waiting).map(([x, y]) => (
            <circle key={`${x} ${y}`} cx={x} cy={y} r="6" />
          ))}
        </g>
      </svg>
      <figcaption>
        <span>{say.wirePublishers}</span>
        <span data-part="waiting">{waiting > 0 ? say.wireWaiting(waiting) : say.wireServer}</span>
        <span>{isCut ? say.wireCut : say.wirePage}</span>
      </figcaption>
    </figure>
  );
}

function Node({ x, sign }: { readonly x: number; readonly sign: string }) {
  return (
    <g class="node" transform={`translate(${x} 140)`}>
      <circle r="26" />
      <path d={sign} />
    </g>
  );
}

/** Above the server, in columns. */
function waitingPlaces(waiting: number): (readonly [number, number])[] {
  const count = Math.min(waiting, waitingShownMax);
  const columns = Math.ceil(count / waitingPerColumn);
  return Array.from({ length: count }, (_, index) => [
    300 + (Math.floor(index / waitingPerColumn) - (columns - 1) / 2) * 16,
    102 - (index % waitingPerColumn) * 15,
  ]);
}

/** The style sheet moves the dot along the wire. An animation that is cancelled, such as at a cut, ends it too. */
function travel(dots: SVGGElement, { place, stops }: Dot): void {
  if (isStill.matches || dots.childElementCount >= dotsMax) return;
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  dot.setAttribute("r", "7");
  dot.setAttribute("class", stops ? "dot stops" : place > 0 ? "dot kept" : "dot");
  for (const end of ["animationend", "animationcancel"]) dot.addEventListener(end, () => dot.remove());
  dots.append(dot);
}
