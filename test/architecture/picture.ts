/** The structure of src/ as a picture: rooms in layers, arrows for imports, and the way of a publication. */
import { element } from "../support/svg.ts";
import { imports, layerOf, layers, type Room, roomOf, route, type Sources } from "./structure.ts";

/** In pixels. */
const width = 960;
const margin = 16;
const roomHeight = 58;
const roomWidthMax = 300;
const rowGap = 34;
const roomGap = 20;
const titleHeight = 40;
const legendHeight = 34;

const style = `
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.name { font-weight: 600 }
.purpose { font-size: 11.5px; fill: #57606a }
.room { fill: #f6f8fa; stroke: #d0d7de }
.room.passed { stroke: #0969da; stroke-width: 2 }
.import { fill: none; stroke: #afb8c1 }
.head { fill: #afb8c1 }
.step { fill: #0969da }
.number { fill: #ffffff; font-weight: 600; font-size: 12px }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .purpose { fill: #9aa4ae }
  .room { fill: #161b22; stroke: #30363d }
  .room.passed { stroke: #58a6ff }
  .import { stroke: #484f58 } .head { fill: #484f58 }
  .step { fill: #58a6ff } .number { fill: #0d1117 }
}`;

interface Place {
  readonly x: number;
  readonly y: number;
  readonly width: number;
}

/**
 * Draws it.
 * @param sources the files of src/
 * @returns an SVG document
 */
export function drawStructure(sources: Sources): string {
  const places = placesOf(layers);
  const arrows = withoutImplied(importsOfRooms(sources));
  const height = titleHeight + layers.length * (roomHeight + rowGap) - rowGap + margin + legendHeight;
  const rooms = layers.flat().map((room) => drawRoom(room, placeOf(places, room.name), stepsIn(room.name)));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    "<title>The folders of src/ in layers, what each imports, and the way of a publication</title>",
    `<style>${style}\n</style>`,
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
    '<path class="head" d="M0 0 8 4 0 8z"/></marker></defs>',
    text(margin, 24, "title", "src/: imports go downward only"),
    ...arrows.map(([from, to]) => drawArrow(placeOf(places, from), placeOf(places, to))),
    ...rooms,
    ...legend(height - legendHeight + 16),
    "</svg>\n",
  ].join("\n");
}

function placesOf(layers: readonly (readonly Room[])[]): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  for (const [row, layer] of layers.entries()) {
    const free = width - 2 * margin - (layer.length - 1) * roomGap;
    const roomWidth = Math.min(roomWidthMax, Math.floor(free / layer.length));
    const from = (width - layer.length * roomWidth - (layer.length - 1) * roomGap) / 2;
    const y = titleHeight + row * (roomHeight + rowGap);
    for (const [index, { name }] of layer.entries())
      places.set(name, { x: Math.round(from + index * (roomWidth + roomGap)), y, width: roomWidth });
  }
  return places;
}

function placeOf(places: ReadonlyMap<string, Place>, name: string): Place {
  const place = places.get(name);
  if (!place) throw new Error(`${name} has no place in the layers`);
  return place;
}

/** The rooms that a room imports. */
function importsOfRooms(sources: Sources): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>(layers.flat().map(({ name }) => [name, new Set()]));
  for (const [name, source] of Object.entries(sources)) {
    for (const imported of imports(name, source)) {
      const [from, to] = [roomOf(name), roomOf(imported)];
      if (from !== to && layerOf(from) >= 0) found.get(from)?.add(to);
    }
  }
  return found;
}

/** @returns pairs of rooms, without those that others imply: what a room imports may import the same */
function withoutImplied(found: ReadonlyMap<string, ReadonlySet<string>>): (readonly [string, string])[] {
  const reaches = (from: string, to: string): boolean =>
    [...(found.get(from) ?? [])].some((next) => next === to || reaches(next, to));
  return [...found].flatMap(([from, targets]) =>
    [...targets]
      .filter((to) => ![...targets].some((other) => other !== to && reaches(other, to)))
      .toSorted()
      .map((to) => [from, to] as const),
  );
}

/** The numbers of the steps of the route that are in a room, from 1. */
const stepsIn = (room: string): number[] =>
  route.flatMap((file, index) => (roomOf(file) === room ? [index + 1] : []));

function drawArrow(from: Place, to: Place): string {
  const [x1, y1] = [from.x + from.width / 2, from.y + roomHeight];
  const [x2, y2] = [to.x + to.width / 2, to.y - 1];
  const bend = (y2 - y1) / 2;
  return `<path class="import" marker-end="url(#head)" d="M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}"/>`;
}

function drawRoom({ name, purpose }: Room, { x, y, width }: Place, steps: readonly number[]): string {
  const isFile = name.endsWith(".ts");
  const lines = wrap(purpose, Math.floor((width - 20) / 6.2));
  return [
    `<rect class="room${steps.length > 0 ? " passed" : ""}" x="${x}" y="${y}" width="${width}" height="${roomHeight}" rx="6"/>`,
    text(x + 10, y + 18, "name", isFile ? name : `${name}/`),
    ...lines.map((line, index) => text(x + 10, y + 34 + 14 * index, "purpose", line)),
    ...steps.map((step, index) => drawStep(step, x + width - 16 - 24 * (steps.length - 1 - index), y + 14)),
  ].join("\n");
}

const drawStep = (number: number, x: number, y: number): string =>
  `<circle class="step" cx="${x}" cy="${y}" r="9"/>` +
  `<text class="number" x="${x}" y="${y + 4}" text-anchor="middle">${number}</text>`;

function legend(y: number): string[] {
  const words = route.map((file, index) => `${index + 1} ${file}`).join("   ");
  return [text(margin, y + 4, "purpose", `A publication in memory:   ${words}`)];
}

const text = (x: number, y: number, role: string, words: string): string =>
  element("text", { class: role, x, y }, words);

/** Breaks words into lines of at most so many characters. */
function wrap(words: string, charactersMax: number): string[] {
  const lines: string[] = [];
  for (const word of words.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < charactersMax)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
