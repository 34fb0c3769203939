// What happens when: one preview at a time, the newest wish next.

import * as api from "./api.js";
import * as panel from "./panel.js";
import * as stage from "./stage.js";

const $ = (id) => document.getElementById(id);
const { state } = panel;
let known = {}, opened = null, strokes = [], sent = "[]", brush = "";
let wanted = false, running = false, cold = 0;

// --- Messages --------------------------------------------------------------------------------------

const say = (text) => { $("status").textContent = text; };

function complain(error) {
  if (error.status === 410) sessionStorage.removeItem("d2f-token");
  $("error").textContent = error.message;
}

function describe(seen) {
  const parts = [];
  if (seen.sharp) parts.push(`sharp at ${seen.sharp}`);
  if (cold) parts.push(`getting ready: some moves still take a few seconds (${cold} parts left)`);
  say(parts.join("; "));
  $("focus-at").textContent = panel.form().focus.includes(",") ? `at ${state.focus.replaceAll(",", ", ")} px` : "";
}

// --- Previews --------------------------------------------------------------------------------------

async function look() {
  wanted = true;
  if (running || opened === null) return;
  running = true;
  $("picture").ariaBusy = "true";
  const slow = setTimeout(() => { $("busy").hidden = false; }, 250);
  while (wanted) {
    wanted = false;
    panel.update();
    keep();
    if (!panel.isReady()) { say("Send the map."); continue; }
    try {
      const painted = JSON.stringify(strokes);
      if (painted !== sent) { await api.paint(strokes); sent = painted; }
      const seen = await api.develop(panel.form());
      cold = seen.cold;
      state.isMetric = seen.is_metric;
      await stage.show(seen.picture);
      $("error").textContent = "";
      showLine(seen.line);
      notes(seen.notes);
      needs(seen.needs);
      describe(seen);
      panel.update();
      document.body.dataset.looks = String(Number(document.body.dataset.looks ?? 0) + 1);
    } catch (error) {
      complain(error);
    }
  }
  clearTimeout(slow);
  $("busy").hidden = true;
  $("picture").ariaBusy = "false";
  running = false;
}

function showLine(line) { // a browser would break options at their hyphens
  $("line").replaceChildren(...line.split(" ").flatMap((word, number) => {
    const span = Object.assign(document.createElement("span"), { textContent: word });
    return number ? [" ", span] : [span];
  }));
}

function notes(lines) {
  $("notes").replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

function needs(names) {
  $("needs").replaceChildren(...names.map((name) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: `Save ${name}` });
    button.addEventListener("click", () => api.save(name, panel.form()).catch(complain));
    return button;
  }));
}

// --- Photographs -----------------------------------------------------------------------------------

async function take(opening) {
  say("Opening …");
  $("error").textContent = "";
  try {
    const told = await opening;
    opened = told;
    strokes = [];
    sent = "[]";
    panel.reset(opened.has_depth, known.has_model);
    arrive();
    await look();
  } catch (error) {
    say("");
    complain(error);
  }
}

function arrive() {
  $("panel").inert = false;
  full({ state: "none" });
  stage.open(opened);
  stage.setStrokes(strokes);
  showStrokes();
  $("how").dataset.name = opened.name;
  document.title = `${opened.name} · d2f`;
}

function taking(input, action) {
  $(input).addEventListener("change", () => {
    const [file] = $(input).files;
    $(input).value = "";
    if (!file) return;
    if (file.size > known.max_upload) {
      complain(new Error(`${file.name}: larger than the ${Math.round(known.max_upload / 1e6)} MB allowed here`));
    } else action(file);
  });
}
taking("open", (file) => take(api.open(file)));
taking("shape", async (file) => {
  try {
    $("shape-name").textContent = (await api.put("shape", file)).name;
    state.hasShape = true;
    look();
  } catch (error) { complain(error); }
});
taking("map", async (file) => {
  try {
    $("map-name").textContent = (await api.put("map", file)).name;
    state.hasMap = true;
    look();
  } catch (error) { complain(error); }
});

for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) take(api.open(file));
});

// --- Focus and settings ----------------------------------------------------------------------------

function focus(place) {
  const [width, height] = opened.size;
  const pixel = (share, side) => Math.min(side - 1, Math.floor(share * side));
  if (place.length === 2) state.focus = `${pixel(place[0], width)},${pixel(place[1], height)}`;
  else {
    const [left, top] = [pixel(place[0], width), pixel(place[1], height)];
    state.focus = [left, top, Math.max(left + 1, Math.round(place[2] * width)),
      Math.max(top + 1, Math.round(place[3] * height))].join(",");
  }
  showFocus();
  look();
}

function showFocus() {
  if (!state.focus.includes(",")) return stage.focusOn(null);
  const sides = [...opened.size, ...opened.size];
  stage.focusOn(state.focus.split(",").map((pixels, n) => Number(pixels) / sides[n]));
}

stage.listen({
  focus,
  cancelled: showFocus,
  stroke: (points) => {
    strokes = [...strokes, panel.stroke(brush, points)];
    showStrokes();
    look();
  },
});

for (const word of ["auto", "nearest"]) $(word).addEventListener("click", () => {
  state.focus = word;
  showFocus();
  look();
});

$("panel").addEventListener("input", (event) => {
  panel.update();
  if (["size", "strength", "spread"].includes(event.target.id)) holdBrush();
  else if (event.target.name !== "brush" && event.target.type !== "file") look();
});
$("panel").addEventListener("submit", (event) => event.preventDefault());
$("views").addEventListener("change", (event) => { state.view = event.target.value; look(); });
$("compare").addEventListener("input", () => stage.compare($("compare").value));
$("reset").addEventListener("click", () => {
  panel.reset(opened.has_depth, known.has_model);
  strokes = [];
  showStrokes();
  showFocus();
  look();
});

// --- Brush -----------------------------------------------------------------------------------------

const HINTS = {
  nearer: "Paint what is nearer than the map says.",
  farther: "Paint what is farther away than the map says.",
  subject: "Paint the subject: it stays sharp, and is the focus if that is automatic.",
};

const HOW_TO_FOCUS = $("how").textContent;
const HOW_TO_PAINT = "Paint, or move with the arrow keys: Enter begins and ends a stroke, Escape drops it.";

function holdBrush() {
  stage.setBrush(brush ? { kind: brush, size: Number($("size").value) } : null);
  $("brush-settings").hidden = !brush;
  $("strength-row").hidden = brush === "subject";
  $("brush-hint").textContent = HINTS[brush] ?? "";
  $("how").textContent = brush ? HOW_TO_PAINT : HOW_TO_FOCUS;
  showStrokes();
}

function showStrokes() {
  stage.setStrokes(strokes);
  $("strokes-row").hidden = strokes.length === 0;
}

$("brush").addEventListener("change", (event) => { brush = event.target.value; holdBrush(); });
$("undo").addEventListener("click", () => { strokes = strokes.slice(0, -1); showStrokes(); look(); });
$("clear").addEventListener("click", () => { strokes = []; showStrokes(); look(); });

// --- Full size -------------------------------------------------------------------------------------

let job = { state: "none" };

function full(report) {
  job = report;
  const busy = ["waiting", "running"].includes(job.state);
  $("make").hidden = busy;
  $("stop").hidden = !busy;
  $("save").hidden = job.state !== "done";
  $("save").textContent = `Save ${job.name ?? ""}`;
  $("progress-row").hidden = job.state === "none";
  $("progress").hidden = !busy;
  $("progress").value = job.share ?? 0;
  $("progress-text").textContent = {
    waiting: "waits for another visitor’s picture",
    running: `about ${job.left} s left`,
    done: "done", stopped: "stopped", failed: job.message, none: "",
  }[job.state];
  if (busy) setTimeout(poll, 500);
}

async function poll() {
  try { full(await api.progress()); } catch (error) { complain(error); }
}

$("make").addEventListener("click", async () => {
  try { full(await api.begin(panel.form())); } catch (error) { complain(error); }
});
$("stop").addEventListener("click", async () => {
  try { full(await api.stop()); } catch (error) { complain(error); }
});
$("save").addEventListener("click", () => api.save(job.name).catch(complain));
$("copy").addEventListener("click", async () => {
  const text = $("line").textContent;
  try { await navigator.clipboard.writeText(text); } catch { getSelection().selectAllChildren($("line")); return; }
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});

// --- Coming and going ------------------------------------------------------------------------------

function keep() {
  sessionStorage.setItem("d2f-form", JSON.stringify({ ...panel.saved(), strokes }));
}

addEventListener("pagehide", () => api.leave());
addEventListener("pageshow", (event) => { if (event.persisted) api.alive().catch(complain); });

async function beat() {
  if (opened === null || running) return;
  try {
    const told = await api.alive();
    if (cold && !told.cold) say("");
    cold = told.cold;
  } catch (error) { complain(error); }
}
setInterval(beat, 20_000);

function offerExamples(names) {
  $("examples").replaceChildren(...names.map((name) => {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button", title: name });
    const image = Object.assign(document.createElement("img"), { src: `/thumbnail/${encodeURIComponent(name)}`, alt: `Example ${name}` });
    button.append(image);
    button.addEventListener("click", () => take(api.example(name)));
    item.append(button);
    return item;
  }));
}

try {
  known = await api.enter();
  offerExamples(known.examples);
  panel.offer(false, known.has_model);
  panel.update();
  if (known.opened) {
    opened = known.opened;
    panel.reset(opened.has_depth, known.has_model);
    const before = JSON.parse(sessionStorage.getItem("d2f-form") ?? "{}");
    panel.restore(before);
    strokes = before.strokes ?? [];
    sent = "";
    arrive();
    showFocus();
    full(await api.progress());
    await look();
  }
} catch (error) { complain(error); }
document.body.dataset.ready = "yes";
