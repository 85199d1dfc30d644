/** Paints the wire on a canvas. */
import type { Dot } from "./flow.ts";

export interface WireColors {
  readonly wire: string;
  readonly dot: string;
  readonly cut: string;
  readonly node: string;
  readonly ink: string;
}

export interface WirePicture {
  readonly wire: "whole" | "cut" | "none";
  /** Messages that the server keeps for the page. */
  readonly waiting: number;
  readonly dots: readonly Dot[];
}

interface Point {
  readonly x: number;
  readonly y: number;
}

/** In CSS pixels. */
const nodeRadius = 15;
const waitingRadius = 4;
const waitingPerColumn = 5;
const waitingShownMax = 40;

/** Where the cut is, between 0.5 at the server and 1 at the page. */
export const cutFrom = 0.68;
export const cutTo = 0.84;

export function drawWire(canvas: HTMLCanvasElement, picture: WirePicture, colors: WireColors): void {
  const context = canvas.getContext("2d");
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!context || width === 0) return;
  const scale = devicePixelRatio;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const at = (place: number): Point => pointOf(place, width, height);
  drawLines(context, picture.wire, at, colors);
  for (const dot of picture.dots) circle(context, at(Math.min(dot.place, 1)), 4.5, colors.dot);
  for (const place of [0, 0.5, 1]) {
    circle(context, at(place), nodeRadius, colors.node);
    context.strokeStyle = place === 1 && picture.wire === "cut" ? colors.cut : colors.wire;
    context.lineWidth = 2.5;
    context.stroke();
  }
  drawSigns(context, at, colors);
  drawWaiting(context, picture.waiting, at(0.5), colors);
}

/** The wire hangs a little between its posts. */
function pointOf(place: number, width: number, height: number): Point {
  const margin = Math.max(nodeRadius + 4, width / 6);
  const half = (place * 2) % 1;
  const sag = place === 1 ? 0 : Math.sin(half * Math.PI) * height * 0.13;
  return { x: margin + place * (width - 2 * margin), y: height * 0.62 + sag };
}

function drawLines(
  context: CanvasRenderingContext2D,
  wire: WirePicture["wire"],
  at: (place: number) => Point,
  colors: WireColors,
): void {
  context.lineCap = "round";
  context.lineWidth = 3;
  context.strokeStyle = colors.wire;
  path(context, at, 0, 0.5);
  if (wire === "none") {
    context.setLineDash([2, 9]);
    path(context, at, 0.5, 1);
    context.setLineDash([]);
  } else if (wire === "whole") path(context, at, 0.5, 1);
  else {
    context.strokeStyle = colors.cut;
    path(context, at, 0.5, cutFrom);
    path(context, at, cutTo, 1);
    fray(context, at(cutFrom), 1);
    fray(context, at(cutTo), -1);
  }
}

function path(
  context: CanvasRenderingContext2D,
  at: (place: number) => Point,
  from: number,
  to: number,
): void {
  context.beginPath();
  const steps = 24;
  for (let step = 0; step <= steps; step++) {
    const place = from + ((to - from) * step) / steps;
    // The end of the first half is the server itself, not the begin of the second.
    const { x, y } = at(to === 0.5 && step === steps ? 0.5 : place);
    if (step === 0) context.moveTo(x, y);
    else context.lineTo(x, y);
  }
  context.stroke();
}

/** Three strands at the end of a cut wire. */
function fray(context: CanvasRenderingContext2D, { x, y }: Point, direction: 1 | -1): void {
  context.lineWidth = 1.5;
  for (const lift of [-7, 0, 6]) {
    context.beginPath();
    context.moveTo(x, y);
    context.quadraticCurveTo(x + 5 * direction, y + lift / 3, x + 10 * direction, y + lift);
    context.stroke();
  }
  context.lineWidth = 3;
}

/** A pen, a stack and a screen. */
function drawSigns(
  context: CanvasRenderingContext2D,
  at: (place: number) => Point,
  { ink }: WireColors,
): void {
  context.strokeStyle = ink;
  context.lineWidth = 1.75;
  const [publisher, server, page] = [at(0), at(0.5), at(1)];
  line(context, publisher.x - 5, publisher.y + 5, publisher.x + 5, publisher.y - 5);
  line(context, publisher.x - 5, publisher.y + 5, publisher.x - 1.5, publisher.y + 4);
  for (const row of [-4.5, 0, 4.5]) line(context, server.x - 6, server.y + row, server.x + 6, server.y + row);
  context.strokeRect(page.x - 7, page.y - 5.5, 14, 9);
  line(context, page.x - 3.5, page.y + 6.5, page.x + 3.5, page.y + 6.5);
}

/** Above the server, in columns. */
function drawWaiting(
  context: CanvasRenderingContext2D,
  waiting: number,
  { x, y }: Point,
  { dot }: WireColors,
): void {
  const count = Math.min(waiting, waitingShownMax);
  const columns = Math.ceil(count / waitingPerColumn);
  for (let index = 0; index < count; index++) {
    const column = Math.floor(index / waitingPerColumn);
    const left = x + (column - (columns - 1) / 2) * (waitingRadius * 2 + 3);
    const up = y - nodeRadius - 9 - (index % waitingPerColumn) * (waitingRadius * 2 + 2);
    circle(context, { x: left, y: up }, waitingRadius, dot);
  }
}

function circle(context: CanvasRenderingContext2D, { x, y }: Point, radius: number, color: string): void {
  context.fillStyle = color;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function line(context: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}
