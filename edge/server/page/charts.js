// Bars and lines as SVG, in a few lines.

const WIDTH = 320, HEIGHT = 150, LEFT = 34, RIGHT = 6, TOP = 8, BOTTOM = 18;

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The next of 1, 2, 5, 10, 20, ... */
function niceAbove(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * (1 - 1e-9));
}

export function short(value) {
  if (value === null || value === undefined) return "-";
  const size = Math.abs(value);
  const digits = size === 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

function axes(highest, xLabels) {
  const parts = [];
  for (const part of [0, 0.5, 1]) {
    const y = HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
    parts.push(element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }));
    parts.push(element("text", { x: LEFT - 4, y: y + 4, "text-anchor": "end" },
      highest * part >= 10000 ? `${short(highest * part / 1000)}k` : short(highest * part)));
  }
  for (const [at, text] of xLabels) {
    const anchor = at <= 0 ? "start" : at >= 1 ? "end" : "middle";
    parts.push(element("text", {
      x: LEFT + at * (WIDTH - LEFT - RIGHT), y: HEIGHT - 4, "text-anchor": anchor }, text));
  }
  return parts;
}

function draw(svg, label, parts) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("aria-label", label);
  svg.replaceChildren(...parts);
}

/** A bar for each value. */
export function bars(svg, { values, xLabels, label }) {
  const highest = niceAbove(Math.max(...values, 0));
  const step = (WIDTH - LEFT - RIGHT) / values.length;
  const parts = axes(highest, xLabels);
  values.forEach((value, i) => {
    if (!value) return;
    const height = Math.max(1, value / highest * (HEIGHT - TOP - BOTTOM));
    parts.push(element("rect", {
      class: "bar", x: LEFT + i * step + step * 0.08, width: step * 0.84,
      y: HEIGHT - BOTTOM - height, height }));
  });
  draw(svg, label, parts);
}

/** A line for each series, from left to right; null is a gap that the line crosses. */
export function lines(svg, { series, xLabels, label }) {
  const all = series.flat().filter((value) => value !== null);
  const highest = niceAbove(Math.max(...all, 0));
  const parts = axes(highest, xLabels);
  series.forEach((values, number) => {
    const step = (WIDTH - LEFT - RIGHT) / Math.max(1, values.length - 1);
    const points = values.flatMap((value, i) => value === null ? [] : [
      `${(LEFT + i * step).toFixed(1)},${(HEIGHT - BOTTOM - value / highest * (HEIGHT - TOP - BOTTOM)).toFixed(1)}`]);
    if (points.length === 1) points.push(`${WIDTH - RIGHT},${points[0].split(",")[1]}`);
    parts.push(element("polyline", {
      class: number ? "line second" : "line", points: points.join(" ") }));
  });
  draw(svg, label, parts);
}

/** A column of cells for each list of numbers, the first at the bottom; the more, the stronger. */
export function heatMap(svg, { columns, label }) {
  const highest = Math.max(...columns.flat(), 1), count = columns[0].length;
  const parts = columns.flatMap((cells, x) => cells.map((value, row) => element("rect", {
    class: "cell", x: x + 0.03, width: 0.94, y: count - 1 - row + 0.03, height: 0.94,
    "fill-opacity": (0.07 + 0.93 * value / highest).toFixed(3) })));
  draw(svg, label, parts);
  svg.setAttribute("viewBox", `0 0 ${columns.length} ${count}`);
  svg.setAttribute("preserveAspectRatio", "none");
}

/** Bars of the size histogram: numbers by diameter, in bins of 1 px from 0 on. */
export function sizeBars(svg, sizes, mmPerPixel) {
  const unit = mmPerPixel ? "mm" : "px", scale = mmPerPixel || 1;
  const used = Math.min(sizes.length, Math.max(10, sizes.findLastIndex((count) => count > 0) + 2));
  const total = sizes.reduce((sum, count) => sum + count, 0);
  let below = 0;
  const median = sizes.findIndex((count) => (below += count) * 2 >= total && total > 0);
  const last = used === sizes.length ? `${short((used - 1) * scale)}+ ${unit}` : `${short(used * scale)} ${unit}`;
  const middle = Math.round(used / 2);
  const text = total
    ? `${short(total)} particles; half of them below ${short((median + 1) * scale)} ${unit}`
    : "no particles";
  bars(svg, {
    values: sizes.slice(0, used), label: `Particles by diameter: ${text}`,
    xLabels: [[0, "0"], [middle / used, short(middle * scale)], [1, last]],
  });
  return text;
}
