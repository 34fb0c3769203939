// The picture: click, drag, brush and keys on it; places are shares of its width and height.

const $ = (id) => document.getElementById(id);
const picture = $("picture"), mark = $("mark"), cursor = $("cursor"), canvas = $("paint");
const DRAG = 6; // pixels from which on a click is a drag
const clamp = (value) => Math.min(1, Math.max(0, value));

let size = [1, 1]; // of the photograph [px]
let brush = null; // kind, size, or null
let strokes = [];
let at = [0.5, 0.5]; // of the keyboard's cursor
let handlers = {};

export function listen(given) { handlers = given; }

export function show(address) {
  const image = $("after");
  image.src = address;
  return image.decode().catch(() => {});
}

export function open(opened) {
  size = opened.size;
  $("before").src = opened.picture;
  strokes = [];
  at = [0.5, 0.5];
  $("frame").hidden = false;
  $("welcome").hidden = true;
  fit();
  focusOn(null);
}

export function fit() {
  const ratio = size[0] / size[1];
  const isWide = window.innerWidth > 860;
  const room = isWide ? $("stage").clientWidth : document.querySelector("main").clientWidth - 24;
  const high = isWide ? window.innerHeight - 215 : window.innerHeight * 0.42;
  const width = Math.min(room, Math.max(160, high) * ratio);
  picture.style.width = `${width}px`;
  picture.style.aspectRatio = `${size[0]} / ${size[1]}`;
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round((width / ratio) * devicePixelRatio);
  draw();
}
addEventListener("resize", fit);

export function focusOn(place) { // null, [x, y] or [left, top, right, bottom], in shares
  mark.hidden = place === null;
  if (place === null) return;
  mark.className = place.length === 2 ? "point" : "box";
  mark.style.left = `${place[0] * 100}%`;
  mark.style.top = `${place[1] * 100}%`;
  mark.style.width = place.length === 2 ? "" : `${(place[2] - place[0]) * 100}%`;
  mark.style.height = place.length === 2 ? "" : `${(place[3] - place[1]) * 100}%`;
}

export function compare(percent) {
  picture.style.setProperty("--before", `${percent}%`);
  $("edge").hidden = Number(percent) === 0;
}

export function setBrush(given) {
  brush = given;
  picture.classList.toggle("painting", brush !== null);
  if (brush === null && document.activeElement !== picture) cursor.hidden = true;
  else moveCursor();
}

export function setStrokes(given) { strokes = given; draw(); }

// --- Pointer ---------------------------------------------------------------------------------------

let start = null, path = null;

const place = (event) => {
  const box = picture.getBoundingClientRect();
  return [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
};

picture.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || start) return;
  start = { at: place(event), x: event.clientX, y: event.clientY, id: event.pointerId };
  picture.setPointerCapture(event.pointerId);
  if (brush) { path = [start.at]; draw(); }
});

picture.addEventListener("pointermove", (event) => {
  if (brush) { at = place(event); moveCursor(); }
  if (start === null || event.pointerId !== start.id) return;
  if (brush) { path.push(place(event)); draw(); } else if (isDrag(event)) focusOn(boxTo(event));
});

picture.addEventListener("pointerup", (event) => {
  if (start === null || event.pointerId !== start.id) return;
  at = place(event);
  if (brush) finishStroke();
  else handlers.focus(isDrag(event) ? boxTo(event) : at);
  start = null;
});

picture.addEventListener("pointercancel", () => { start = path = null; draw(); handlers.cancelled(); });

const isDrag = (event) => Math.hypot(event.clientX - start.x, event.clientY - start.y) > DRAG;

function boxTo(event) {
  const [a, b] = [start.at, place(event)];
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
}

function finishStroke() {
  const points = path;
  path = null;
  handlers.stroke(points);
}

// --- Keys ------------------------------------------------------------------------------------------

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

picture.addEventListener("keydown", (event) => {
  const step = STEPS[event.key];
  if (step) {
    const far = event.shiftKey ? 0.1 : 0.02;
    at = [clamp(at[0] + far * step[0]), clamp(at[1] + (far * step[1] * size[0]) / size[1])];
    moveCursor();
    if (path) { path.push(at); draw(); }
  } else if (event.key === "Enter" || event.key === " ") {
    if (!brush) handlers.focus(at);
    else if (path) finishStroke();
    else { path = [at]; draw(); }
  } else if (event.key === "Escape" && path) { path = null; draw(); } else return;
  event.preventDefault();
});

picture.addEventListener("focus", () => { if (picture.matches(":focus-visible")) moveCursor(); });
picture.addEventListener("blur", () => { cursor.hidden = brush === null; });

function moveCursor() {
  const wide = brush ? Math.max(6, brush.size * Math.max(picture.clientWidth, picture.clientHeight)) : 22;
  cursor.hidden = false;
  cursor.style.left = `${at[0] * 100}%`;
  cursor.style.top = `${at[1] * 100}%`;
  cursor.style.width = cursor.style.height = `${wide}px`;
}

// --- Strokes ---------------------------------------------------------------------------------------

const COLOURS = { nearer: "#ffb02e", farther: "#4aa3ff", subject: "#5fd36a" };

function draw() {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!brush) return; // strokes are seen while there is a brush in hand
  const now = path ? [{ ...brush, points: path }] : [];
  pen.globalAlpha = 0.5;
  pen.lineCap = pen.lineJoin = "round";
  for (const stroke of [...strokes, ...now]) {
    pen.strokeStyle = COLOURS[stroke.kind];
    pen.lineWidth = stroke.size * Math.max(canvas.width, canvas.height);
    pen.beginPath();
    for (const [x, y] of [stroke.points[0], ...stroke.points]) pen.lineTo(x * canvas.width, y * canvas.height);
    pen.stroke();
  }
}
export const redraw = draw;
