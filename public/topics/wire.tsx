/** The wire, drawn: messages travel from their publisher over the server to this page, and wait at the server at a cut. */
import { useEffect, useRef } from "preact/hooks";
import { colorOf } from "../frame/color.ts";
import { theme } from "../frame/settings.ts";
import { words } from "../frame/words.ts";
import { cutFrom, cutTo, drawWire, type WireColors } from "./drawing.ts";
import type { Flow } from "./flow.ts";

/** From one end of the wire to the other. */
const travelMilliseconds = 900;

/** So many look like a stream, which needs fewer frames a second. */
const manyDots = 30;
const framesOfMany = 15;

interface WireProps {
  readonly flow: Flow;
  readonly isOpen: boolean;
}

export function Wire({ flow, isOpen }: WireProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const say = words.value;
  const isCut = flow.isCut.value;
  const waiting = flow.waiting.value;
  const wire = isCut ? "cut" : isOpen ? "whole" : "none";
  useEffect(
    () => (canvas.current ? animate(canvas.current, flow, wire) : undefined),
    [flow, wire, theme.value],
  );
  useEffect(() => flow.onChange?.(), [waiting]);
  return (
    <figure class="wire" data-part="wire" data-wire={wire}>
      <canvas ref={canvas} role="img" aria-label={isCut ? say.wireCut : say.wirePage} />
      <figcaption>
        <span>{say.wirePublishers}</span>
        <span data-part="waiting">{waiting > 0 ? say.wireWaiting(waiting) : say.wireServer}</span>
        <span>{isCut ? say.wireCut : say.wirePage}</span>
      </figcaption>
    </figure>
  );
}

/** Draws while something moves, and else once. @returns what ends it */
function animate(canvas: HTMLCanvasElement, flow: Flow, wire: "whole" | "cut" | "none"): () => void {
  const isStill = matchMedia("(prefers-reduced-motion: reduce)");
  const colors = colorsOf(canvas);
  let previous = performance.now();
  let frame = 0;
  const draw = (now: number): void => {
    frame = 0;
    if (flow.dots.length > manyDots && now - previous < 1000 / framesOfMany) {
      ask();
      return;
    }
    const step = Math.min(now - previous, 100) / travelMilliseconds;
    previous = now;
    if (isStill.matches) flow.dots.length = 0;
    for (const dot of flow.dots) dot.place += step;
    const rest = flow.dots.filter(({ place, stops }) => place < (stops ? 0.5 : endOf(place, wire)));
    flow.dots.splice(0, flow.dots.length, ...rest);
    drawWire(canvas, { wire, waiting: flow.waiting.peek(), dots: flow.dots }, colors);
    if (flow.dots.length > 0) ask();
  };
  const ask = (): void => {
    if (frame === 0) frame = requestAnimationFrame(draw);
  };
  flow.onChange = () => {
    if (frame === 0) previous = performance.now();
    ask();
  };
  const observer = new ResizeObserver(ask);
  observer.observe(canvas);
  return () => {
    observer.disconnect();
    cancelAnimationFrame(frame);
    flow.onChange = undefined;
  };
}

/** Where a message leaves the wire: at the page, or at a cut that is before it. */
function endOf(place: number, wire: "whole" | "cut" | "none"): number {
  return wire === "cut" && place < cutTo ? cutFrom : 1;
}

function colorsOf(element: HTMLElement): WireColors {
  const color = (name: string): string => colorOf(element, name);
  return {
    wire: color("wire"),
    dot: color("copper"),
    cut: color("red"),
    node: color("surface"),
    ink: color("ink-soft"),
  };
}
