// The page of a folder of results.

import { short, sizeBars } from "/charts.js";

const REFRESH_MS = 3000;
const PARTICLE_COLUMNS = {
  id: "id", x_px: "x, px", y_px: "y, px", diameter_px: "diameter, px", diameter_mm: "diameter, mm",
  area_px: "area, px", mean_probability: "probability" };

const byId = (id) => document.getElementById(id);
let summary = null, rows = [], page = 0, chosen = null, particles = [];

async function get(url) {
  const response = await fetch(url);
  if (response.status === 401) location.assign("/login");
  const content = await response.json();
  if (!response.ok) throw new Error(content.error || `status ${response.status}`);
  return content;
}

/** Shows what goes wrong in an action, in place of nothing. */
const shown = (action) => async (...words) => {
  try {
    await action(...words);
    byId("problem").textContent = "";
  } catch (problem) {
    byId("problem").textContent = problem.message;
  }
};

function make(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Summary

async function loadSummary() {
  summary = await get("/api/summary");
  const { name, report, frames, particles: count } = summary;
  document.title = `${name} - edge-run view`;
  byId("name").textContent = name;
  byId("totals").textContent = `${short(frames)} frames, ${short(count)} particles`;
  byId("ended").dataset.state = { complete: "live", limit: "live", failed: "lost" }[report?.ended] || "stale";
  byId("ended").textContent = report ? report.ended : "not finished";
  byId("pages").textContent = `of ${Math.max(1, summary.pages)}`;
  byId("page").max = Math.max(1, summary.pages);
  byId("sizes-caption").textContent = sizeBars(byId("sizes"), summary.sizes, summary.mm_per_pixel);
  byId("summary").replaceChildren(...facts(report).map(([term, text]) => {
    const row = make("div");
    row.append(make("dt", term), make("dd", text));
    return row;
  }));
  byId("files").replaceChildren(...summary.files.map((file) =>
    make("a", file, { class: "button", href: `/files/${file}`, download: file })));
}

function facts(report) {
  if (!report) return [["summary.json", "not there: the run goes on, or broke off"]];
  const ms = report.end_to_end_ms || {};
  const all = {
    ended: report.reason ? `${report.ended}: ${report.reason}` : report.ended,
    source: report.source, started: report.started, finished: report.finished,
    model: report.model, device: report.device,
    threshold: report.threshold, "smallest diameter, px": report.min_diameter_px,
    "largest diameter, px": report.max_diameter_px,
    "frames processed": report.frames_processed, "frames dropped": report.frames_dropped,
    "frames failed": report.frames_failed, particles: report.particles,
    "frames per second": report.fps,
    "latency p50, p99, ms": ms.p50 === undefined ? null : `${short(ms.p50)}, ${short(ms.p99)}`,
    problems: (report.problems || []).join("; ") || null,
  };
  return Object.entries(all).filter(([, value]) => value !== null && value !== undefined);
}

// Frames

async function loadPage(wanted) {
  page = Math.min(Math.max(0, wanted), Math.max(0, summary.pages - 1));
  rows = await get(`/api/frames/${page}`);
  byId("page").value = page + 1;
  byId("previous-page").disabled = page === 0;
  byId("next-page").disabled = page >= summary.pages - 1;
  byId("frames").replaceChildren(...rows.map((row, i) => {
    const line = make("tr"), number = make("td"), button = make("button", row.frame, { type: "button" });
    button.addEventListener("click", shown(() => choose(i)));
    number.append(button);
    const name = row.file.split(/[\\/]/).at(-1);
    line.append(number, make("td", row.status === "processed" ? row.particles : row.status),
      make("td", row.source ? `${row.source}: ${name}` : name, { class: "text", title: row.file }));
    return line;
  }));
}

async function choose(i) {
  chosen = i;
  [...byId("frames").children].forEach((line, k) => line.setAttribute("aria-selected", String(k === i)));
  // The table scrolls, not the page.
  const line = byId("frames").children[i], box = line.closest(".table");
  const above = line.offsetTop - box.querySelector("thead").offsetHeight - box.scrollTop;
  if (above < 0) box.scrollTop += above;
  const below = line.offsetTop + line.offsetHeight - box.scrollTop - box.clientHeight;
  if (below > 0) box.scrollTop += below;
  const row = rows[i];
  byId("caption").textContent = [`frame ${row.frame}`, row.source,
    row.width ? `${row.width}x${row.height} px` : row.reason || row.status, row.file].filter(Boolean).join(", ");
  byId("previous").disabled = i === 0 && page === 0;
  byId("next").disabled = i === rows.length - 1 && page >= summary.pages - 1;
  const found = await get(`/api/particles/${row.frame}?${ofSource(row)}`);
  if (rows[chosen] !== row) return;
  particles = found;
  showParticles(row);
  showPicture(row);
}

const ofSource = (row) => new URLSearchParams({ source: row.source || "" });

async function step(by) {
  if (chosen === null) return;
  const next = chosen + by;
  if (next >= 0 && next < rows.length) return choose(next);
  const other = page + by;
  if (other < 0 || other >= summary.pages) return;
  await loadPage(other);
  await choose(by > 0 ? 0 : rows.length - 1);
}

function showPicture(row) {
  const frame = byId("frame");
  for (const option of byId("kind").options) option.disabled = !row.pictures.includes(option.value);
  const kind = row.pictures.includes(byId("kind").value) ? byId("kind").value : row.pictures[0];
  if (!row.width) {
    frame.replaceChildren(make("p", row.reason || row.status || "no picture", { class: "note" }));
    return;
  }
  const marks = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  marks.setAttribute("viewBox", `-0.5 -0.5 ${row.width} ${row.height}`);
  marks.setAttribute("class", kind ? "marks" : "marks plain");
  marks.setAttribute("aria-hidden", "true");
  // On an overlay they are drawn already.
  if (kind !== "overlay") marks.append(...particles.map((particle) => circle(particle, "")));
  frame.replaceChildren(marks);
  if (!kind) return;
  const label = `Frame ${row.frame} with ${row.particles} particles, ${kind}`;
  const picture = make("img", null, {
    id: "picture", alt: label, src: `/pictures/${kind}/${row.frame}?${ofSource(row)}`, width: row.width, height: row.height });
  frame.prepend(picture);
}

function circle(particle, name) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  made.setAttribute("cx", particle.x_px);
  made.setAttribute("cy", particle.y_px);
  made.setAttribute("r", particle.diameter_px / 2 + 5);
  made.setAttribute("class", name);
  return made;
}

function showParticles(row) {
  const columns = Object.keys(PARTICLE_COLUMNS).filter((column) => particles.length && column in particles[0]);
  const head = make("tr");
  head.append(...columns.map((column) => make("th", PARTICLE_COLUMNS[column], { scope: "col" })));
  byId("particles-head").replaceChildren(head);
  byId("particles").replaceChildren(...particles.map((particle) => {
    const line = make("tr");
    line.append(...columns.map((column) => {
      if (column !== "id") return make("td", particle[column]);
      const cell = make("td"), button = make("button", particle.id, { type: "button" });
      button.addEventListener("click", () => mark(line, particle));
      cell.append(button);
      return cell;
    }));
    return line;
  }));
  const all = Number(row.particles || 0);
  byId("particles-note").textContent = all > particles.length
    ? `the first ${particles.length} of ${all}` : particles.length ? "" : "none";
}

function mark(line, particle) {
  for (const other of byId("particles").children) other.setAttribute("aria-selected", String(other === line));
  const marks = document.querySelector(".marks");
  marks?.querySelector(".chosen")?.remove();
  marks?.append(circle(particle, "chosen"));
}

// Controls

byId("previous").addEventListener("click", shown(() => step(-1)));
byId("next").addEventListener("click", shown(() => step(1)));
byId("previous-page").addEventListener("click", shown(() => turn(page - 1)));
byId("next-page").addEventListener("click", shown(() => turn(page + 1)));
byId("page").addEventListener("change", shown(() => turn(Number(byId("page").value) - 1)));
byId("kind").addEventListener("change", () => { if (chosen !== null) showPicture(rows[chosen]); });
byId("zoom").addEventListener("click", toggleZoom);

async function turn(wanted) {
  await loadPage(wanted);
  if (rows.length) await choose(0);
}

function toggleZoom() {
  const actual = byId("frame").classList.toggle("actual");
  byId("zoom").setAttribute("aria-pressed", String(actual));
}

const keys = { j: shown(() => step(1)), k: shown(() => step(-1)), z: toggleZoom };
document.addEventListener("keydown", (event) => {
  const act = keys[event.key];
  if (!act || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select, input")) return;
  if (byId("shortcuts").checked) act();
});

/** A run that goes on grows. */
async function refresh() {
  if (document.hidden || summary?.report) return;
  const full = rows.length === summary.frames_per_page;
  await loadSummary();
  if (full) return void (byId("next-page").disabled = page >= summary.pages - 1);
  const before = chosen;
  await loadPage(page);
  if (before === null && rows.length) await choose(0);
  else byId("frames").children[before]?.setAttribute("aria-selected", "true");
}

shown(async () => {
  await loadSummary();
  await turn(0);
})();
setInterval(shown(refresh), REFRESH_MS);
