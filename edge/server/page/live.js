// The page of a run: asks for news, shows them, and sends what the viewer changes.

import { heatMap, lines, short, sizeBars } from "/charts.js";

const RETRY_MS = 1000, REQUEST_TIMEOUT_MS = 8000, STATISTICS_MS = 1000, SEND_MS = 80;
const OLD_S = 5, SPEAK_MS = 5000;

const byId = (id) => document.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
// crypto.randomUUID is not there on a page without TLS.
const viewer = [...crypto.getRandomValues(new Uint8Array(8))]
  .map((byte) => byte.toString(16).padStart(2, "0")).join("");

let source = "", state = null, statistics = null, circles = true;
let shownAt = 0;  // when the newest frame came, by performance.now
let spokenAt = 0, sending = null, touchedAt = -Infinity, drawn = "", drawnStrip = "";

const query = (more = {}) => new URLSearchParams({ viewer, source, ...more });

async function request(url, options = {}) {
  const response = await fetch(url, { ...options, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  if (response.status === 401) location.assign("/login");
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw Object.assign(new Error(told.error || `status ${response.status}`), { status: response.status });
  }
  return response;
}

const post = (url, values) => request(url, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values) });

function put(id, text) {
  const place = byId(id);
  if (place.textContent !== text) place.textContent = text;
}

function setBadge(badge, text) {
  byId("connection").dataset.state = badge;
  put("connection", text);
}

/** Until the page is looked at. */
const visible = () => new Promise((done) => {
  if (!document.hidden) return done();
  const check = () => {
    if (document.hidden) return;
    document.removeEventListener("visibilitychange", check);
    done();
  };
  document.addEventListener("visibilitychange", check);
});

async function watch() {
  let after = null;
  for (;;) {
    await visible();
    const asked = source;
    try {
      const response = await request(`/api/state?${query(after === null ? {} : { after })}`);
      const news = await response.json();
      if (asked !== source) { after = null; continue; }
      state = news;
      after = news.changes;
      showState();
      await showPicture();
      await showStrip();
      if (news.ended) {
        await refreshStatistics();
        await wait(RETRY_MS);
        after = null;
      }
    } catch (problem) {
      after = null;
      if (problem.status) setBadge("lost", problem.message);
      else if (!state?.ended) setBadge("lost", "no connection; trying again");
      await wait(RETRY_MS);
    }
    showFreshness();
  }
}

async function refreshStatistics() {
  const asked = source;
  const response = await request(`/api/statistics?${query()}`);
  const news = await response.json();
  if (asked === source) { statistics = news; showStatistics(); }
}

async function watchStatistics() {
  for (;;) {
    await visible();
    if (!state?.ended) await refreshStatistics().catch(() => {});
    await wait(STATISTICS_MS);
  }
}

async function showPicture() {
  const key = `${state.source} ${state.shown?.number} ${circles}`;
  if (!state.shown || key === drawn) return;
  const picture = new Image();
  picture.id = "picture";
  picture.alt = `Frame ${state.shown.frame} with ${state.shown.particles} particles`;
  picture.src = `/frame.jpg?${query({ circles: circles ? 1 : 0, number: state.shown.number })}`;
  await picture.decode();
  // In place of the old one when it is complete: nothing flickers.
  (byId("picture") || byId("no-picture")).replaceWith(picture);
  drawn = key;
}

async function showStrip() {
  const { belt } = state;
  byId("belt").hidden = !belt;
  if (!belt) return;
  const unit = state.mm_per_pixel ? "mm" : "px", scale = state.mm_per_pixel || 1;
  const far = belt.downweb_px * scale;
  put("belt-caption", [
    unit === "mm" ? `${short(far / 1000)} m of belt` : `${short(far)} rows of belt`,
    belt.speed_px_s === null ? "speed unknown" : `${short(belt.speed_px_s * scale)} ${unit}/s`,
    "moves to the left",
  ].join(", "));
  byId("registration").dataset.state = belt.measured ? "live" : "stale";
  const quality = belt.quality === null ? "" : `, quality ${short(belt.quality)}`;
  put("registration", `position ${belt.measured ? "measured" : "assumed"}${quality}`);
  const key = `${state.source} ${belt.downweb_px}`;
  if (key === drawnStrip) return;
  const picture = new Image();
  picture.id = "strip";
  picture.alt = `The last rows of the belt, up to row ${belt.downweb_px}`;
  picture.src = `/strip.jpg?${query({ row: belt.downweb_px })}`;
  await picture.decode();
  (byId("strip") || byId("no-strip")).replaceWith(picture);
  drawnStrip = key;
}

function showDensity() {
  const { segments } = statistics;
  if (!segments.length) return put("density-caption", "no segment is complete yet");
  const lanes = segments.map((one) => Object.keys(one).filter((name) => name.startsWith("lane_"))
    .map((name) => one[name]));
  const first = segments[0], last = segments.at(-1), metric = last.begin_mm !== undefined;
  const place = (mm, px) => metric ? `${short(mm / 1000)} m` : `row ${short(px)}`;
  const from = place(first.begin_mm, first.begin_px), to = place(last.end_mm, last.end_px);
  heatMap(byId("density"), { columns: lanes, label: `Particles by place on the belt, ${from} to ${to}` });
  put("density-begin", from);
  put("density-end", to);
  const facts = metric
    ? `${short(last.particles_per_m)} particles per m, ${short(last.particles_per_m2)} per m\u00b2`
    : `${short(last.particles)} particles`;
  put("density-caption", `Last segment of ${metric
    ? `${short(last.end_mm - last.begin_mm)} mm` : `${short(last.end_px - last.begin_px)} px`}: ${facts}. `
    + `A cell is an eighth of the width; the strongest has ${short(Math.max(...lanes.flat()))} particles.`);
}

function showState() {
  const { shown, paused, ended, sources } = state;
  if (ended) setBadge("ended", "the run has ended");
  else if (paused) setBadge("paused", "paused");
  else setBadge("live", "live");
  byId("pause").setAttribute("aria-pressed", String(paused));
  put("pause", paused ? "Go on" : "Pause");
  byId("pause").disabled = ended;
  byId("snapshot").href = `/snapshot.png?${query({ circles: circles ? 1 : 0 })}`;
  showSources(sources);
  showLimits();
  if (!shown) return;
  shownAt = performance.now() - shown.age_s * 1000;
  put("particles", short(shown.particles));
  if (performance.now() - spokenAt > SPEAK_MS) {
    spokenAt = performance.now();
    put("spoken", `${shown.particles} particles in this frame`);
  }
  const time = shown.time_s === null ? "" : shown.time_base === "unix"
    ? `, ${new Date(shown.time_s * 1000).toLocaleString()}` : `, ${shown.time_s.toFixed(2)} s`;
  put("caption", `frame ${shown.frame}${time}, ${shown.width}x${shown.height} px, ${shown.file}`);
  if (sizesOf() === "frame") showSizes();
}

function showSources(sources) {
  const list = byId("sources"), now = Date.now() / 1000;
  const items = sources.map(({ name, state: how, since_s, reconnects, decode_errors }) => {
    const facts = [`${how} for ${duration(Math.max(0, now - since_s))}`];
    if (reconnects) facts.push(`${reconnects} reconnects`);
    if (decode_errors) facts.push(`${decode_errors} decode errors`);
    return { name, how, text: facts.join(", ") };
  });
  const key = JSON.stringify(items);
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...items.map(({ name, how, text }) => {
      const item = document.createElement("li"), told = document.createElement("span");
      told.textContent = text;
      told.dataset.state = how;
      item.append(`${name}: `, told);
      return item;
    }));
  }
  const choice = byId("source"), names = sources.map(({ name }) => name);
  byId("source-label").hidden = names.length < 2;
  if (names.length > 1 && [...choice.options].map((option) => option.value).join("\n") !== names.join("\n")) {
    choice.replaceChildren(...names.map((name) => new Option(name, name)));
    choice.value = state.source;
  }
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

function showFreshness() {
  if (!state?.shown) return put("freshness", "");
  const age_s = Math.max(0, (performance.now() - shownAt) / 1000);
  const old = age_s > OLD_S && !state.paused && !state.ended;
  put("freshness", old ? `old: no new frame for ${duration(age_s)}` : `newest frame ${duration(age_s)} ago`);
  byId("freshness").classList.toggle("old", old);
  byId("frame").classList.toggle("dated", old || byId("connection").dataset.state === "lost");
}

// Limits

const sliders = { threshold: byId("threshold"), min: byId("min-diameter"), max: byId("max-diameter") };

function showLimits() {
  // Not under the viewer's finger, nor before the run has heard of it.
  if (sending || performance.now() - touchedAt < 500) return;
  setSliders(state.limits);
}

function setSliders({ threshold, min_diameter_px: low, max_diameter_px: high }) {
  const top = Math.max(40, Math.ceil(low || 0), Math.ceil(high || 0));
  sliders.min.max = top;
  sliders.max.max = top + 0.5;
  sliders.threshold.value = threshold;
  sliders.min.value = low || 0;
  sliders.max.value = high === null ? top + 0.5 : high;
  showSliderValues();
}

function limits() {
  const low = Number(sliders.min.value), high = Number(sliders.max.value);
  return {
    threshold: Number(sliders.threshold.value),
    min_diameter_px: low || null,
    max_diameter_px: high === Number(sliders.max.max) ? null : high,
  };
}

function showSliderValues() {
  const length = (px) => state?.mm_per_pixel
    ? `${px} px, ${short(px * state.mm_per_pixel)} mm` : `${px} px`;
  const { threshold, min_diameter_px: low, max_diameter_px: high } = limits();
  put("threshold-value", threshold.toFixed(2));
  put("min-diameter-value", low === null ? "no limit" : length(low));
  put("max-diameter-value", high === null ? "no limit" : length(high));
  for (const [name, id] of [["min", "min-diameter-value"], ["max", "max-diameter-value"]]) {
    sliders[name].setAttribute("aria-valuetext", byId(id).textContent);
  }
}

function changed(moved) {
  touchedAt = performance.now();
  const low = Number(sliders.min.value), high = Number(sliders.max.value);
  if (low > high) {
    if (moved === sliders.min) sliders.max.value = low; else sliders.min.value = high;
  }
  showSliderValues();
  sending ||= wait(SEND_MS).then(send);
}

async function send() {
  const wanted = limits();
  try {
    await post("/api/limits", wanted);
    put("limits-error", "");
  } catch (problem) {
    put("limits-error", `not changed: ${problem.message}`);
  }
  sending = null;
  if (JSON.stringify(limits()) !== JSON.stringify(wanted)) sending = wait(SEND_MS).then(send);
}

// Statistics

function sizesOf() { return document.querySelector('input[name="sizes-of"]:checked').value; }

function showSizes() {
  const sizes = sizesOf() === "frame" ? state?.shown?.sizes : statistics?.sizes;
  if (sizes) put("sizes-caption", sizeBars(byId("sizes"), sizes, state?.mm_per_pixel));
}

/** For each span the sum of the last minute, as a rate per minute. */
function perMinute(sums, spanS, elapsedS) {
  const many = Math.max(1, Math.round(60 / spanS));
  let sum = 0;
  return sums.map((value, i) => {
    sum += value - (i >= many ? sums[i - many] : 0);
    const end = Math.min((i + 1) * spanS, elapsedS);
    return 60 * sum / Math.max(1, end - Math.max(0, i + 1 - many) * spanS);
  });
}

function showStatistics() {
  const { counts, fps, end_to_end_ms: latency, history, records } = statistics;
  const { span_s: span, elapsed_s: elapsed } = history;
  const particles = perMinute(history.particles, span, elapsed);
  const lost = perMinute(history.dropped, span, elapsed), failed = perMinute(history.failed, span, elapsed);
  put("per-minute", short(Math.round(particles.at(-1))));
  put("all-particles", short(counts.particles));
  put("frames", short(counts.processed));
  put("fps", short(fps));
  put("dropped", `${short(counts.dropped)}, ${short(counts.failed)}`);
  put("latency", latency.p50 === undefined ? "-" : `${short(latency.p50)}, ${short(latency.p99)} ms`);
  const xLabels = [[0, `${duration(elapsed)} ago`], [1, "now"]];
  lines(byId("per-minute-chart"), {
    series: [particles], xLabels, label: `Particles per minute, now ${short(particles.at(-1))}` });
  const newest = history.latency_ms.findLast((value) => value !== null);
  lines(byId("latency-chart"), {
    series: [history.latency_ms], xLabels, label: `Latency in ms, now ${short(newest ?? null)}` });
  lines(byId("dropped-chart"), {
    series: [lost, failed], xLabels,
    label: `Frames per minute, now ${short(lost.at(-1))} dropped and ${short(failed.at(-1))} failed` });
  showSizes();
  showDensity();
  put("records-note", [
    records.kept === records.all
      ? `All ${short(records.all)} particles so far.`
      : `The newest ${short(records.kept)} of ${short(records.all)} particles.`,
    records.complete ? `All are written to ${records.complete}.` : "Nothing is written to a folder (--out).",
  ].join(" "));
}

// Controls

async function togglePause() {
  if (!state || state.ended) return;
  try {
    await post("/api/pause", { paused: !state.paused });
  } catch (problem) {
    setBadge("lost", problem.message);
  }
}

function toggleCircles() {
  circles = !circles;
  byId("circles").setAttribute("aria-pressed", String(circles));
  if (state) byId("snapshot").href = `/snapshot.png?${query({ circles: circles ? 1 : 0 })}`;
  showPicture().catch(() => {});
}

function toggleZoom() {
  const actual = byId("frame").classList.toggle("actual");
  byId("zoom").setAttribute("aria-pressed", String(actual));
}

function stepThreshold(steps) {
  sliders.threshold.value = Number(sliders.threshold.value) + steps * 0.01;
  changed(sliders.threshold);
}

for (const slider of Object.values(sliders)) slider.addEventListener("input", () => changed(slider));
byId("reset").addEventListener("click", () => {
  if (!state) return;
  setSliders(state.initial_limits);
  changed(null);
});
byId("pause").addEventListener("click", togglePause);
byId("circles").addEventListener("click", toggleCircles);
byId("zoom").addEventListener("click", toggleZoom);
byId("source").addEventListener("change", (event) => { source = event.target.value; statistics = null; });
for (const radio of document.querySelectorAll('input[name="sizes-of"]')) radio.addEventListener("change", showSizes);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());

const keys = {
  p: togglePause, c: toggleCircles, z: toggleZoom, s: () => byId("snapshot").click(),
  "[": () => stepThreshold(-1), "]": () => stepThreshold(1),
};
document.addEventListener("keydown", (event) => {
  const act = keys[event.key];
  if (!act || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select")) return;
  if (byId("shortcuts").checked) act();
});

setInterval(showFreshness, 500);
watch();
watchStatistics();
