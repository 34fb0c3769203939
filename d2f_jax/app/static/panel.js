// The settings: from the controls to what the server is told, and back after a reload.

const $ = (id) => document.getElementById(id);
const STOPS = [1, 1.4, 2, 2.8, 4, 5.6, 8, 11]; // whole f-numbers; halves lie between
const NONE = 8; // where the f-number's slider is off
const SAVED = ["sharp", "blur", "f_number", "focal_length", "sensor", "highlights", "opening", "blades",
  "roundness", "rotation", "squeeze", "cat_eye", "source", "convention", "renderer", "size",
  "strength", "spread"];
const defaults = Object.fromEntries(SAVED.map((id) => [id, $(id).value]));

export const state = { focus: "auto", view: "picture", hasShape: false, hasMap: false, isMetric: false };

const percent = (value) => `${Math.round(value * 100)} %`;
const WORDS = {
  sharp: percent, blur: percent, roundness: percent, strength: percent, size: percent, spread: percent,
  rotation: (v) => `${v}°`, squeeze: (v) => Number(v).toFixed(2), cat_eye: (v) => Number(v).toFixed(2),
  highlights: (v) => (Number(v) ? `× ${v}` : "off"), blades: (v) => v,
  f_number: (v) => (Number(v) === NONE ? "off" : `f/${fNumber(v)}`),
};

function fNumber(value) {
  const whole = STOPS[value];
  return whole ?? Number((2 ** (value / 2)).toPrecision(2));
}

const number = (id) => Number($(id).value);
const byLens = () => $("renderer").value === "lens" || ($("renderer").value === "auto" && $("source").value !== "networks");

export function form() {
  const sent = {
    focus: state.focus, view: state.view, sharp: number("sharp"), blur: String(number("blur")),
    source: $("source").value, renderer: $("renderer").value,
  };
  if (sent.source === "file") sent.convention = $("convention").value;
  if (!byLens()) return sent;
  if (state.isMetric && number("f_number") !== NONE) {
    sent.f_number = fNumber(number("f_number"));
    for (const id of ["focal_length", "sensor"]) if ($(id).value) sent[id] = number(id);
  }
  if (number("highlights")) { sent.restore_highlights = true; sent.highlight_gain = number("highlights"); }
  if ($("opening").value === "blades") {
    for (const id of ["blades", "roundness", "rotation"]) sent[id] = number(id);
  }
  if ($("opening").value === "shape") sent.shape = state.hasShape;
  sent.squeeze = number("squeeze");
  sent.cat_eye = number("cat_eye");
  return sent;
}

export const isReady = () => $("source").value !== "file" || state.hasMap;

export const stroke = (kind, points) => ({
  kind, points, size: number("size"), strength: number("strength"), spread: number("spread"),
});

export function update() {
  for (const [id, say] of Object.entries(WORDS)) {
    $(id).parentElement.querySelector("output").textContent = say($(id).value);
    $(id).setAttribute("aria-valuetext", say($(id).value));
  }
  for (const each of document.querySelectorAll(".lens")) each.hidden = !byLens();
  for (const each of document.querySelectorAll(".metric")) each.hidden = !byLens() || !state.isMetric;
  for (const each of document.querySelectorAll("[data-opening]")) each.hidden = each.dataset.opening !== $("opening").value;
  for (const each of document.querySelectorAll("[data-source]")) each.hidden = each.dataset.source !== $("source").value;
  $("auto").setAttribute("aria-pressed", String(state.focus === "auto"));
  $("nearest").setAttribute("aria-pressed", String(state.focus === "nearest"));
}

export function reset(hasDepth, hasModel) {
  for (const id of SAVED) $(id).value = defaults[id];
  Object.assign(state, { focus: "auto", hasShape: false, hasMap: false, isMetric: false });
  offer(hasDepth, hasModel);
  $("source").value = hasDepth ? "own" : hasModel ? "model" : "networks";
  $("shape-name").textContent = $("map-name").textContent = "";
}

export function offer(hasDepth, hasModel) {
  for (const [value, there] of [["own", hasDepth], ["model", hasModel]]) {
    const option = $("source").querySelector(`[value="${value}"]`);
    option.disabled = option.hidden = !there;
  }
}

export function saved() {
  return { ...Object.fromEntries(SAVED.map((id) => [id, $(id).value])), state: { ...state, view: "picture" } };
}

export function restore(before) {
  for (const id of SAVED) if (before[id] !== undefined) $(id).value = before[id];
  Object.assign(state, before.state);
}
