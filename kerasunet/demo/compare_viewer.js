// Draws every mask from the probabilities in the scene, so that sliders never ask the server.
// `element` is the component's root, `props.value` the scene as JSON, `watch` reports a new one.
const root = element.querySelector(".viewer");
const grid = root.querySelector(".panels");
const legend = root.querySelector(".legend");
const settings = { threshold: 0.5, opacity: 0.35, smallest: 0, view: "Overlay", names: null };
const zoom = { factor: 1, x: 0, y: 0 };
const TRUTH = [0, 204, 150], MASK = [255, 170, 0];
const MOST_ZOOM = 16, EMPTY = grid.innerHTML;
let scene = null, scores = {}, panels = [], coming = "", waiting = false;

// ---- loading a scene
async function pixels(url) {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, picture.width, picture.height).data;
}

function everyFourth(data) {
  const values = new Uint8Array(data.length / 4);
  for (let i = 0; i < values.length; i++) values[i] = data[4 * i];
  return values;
}

async function load() {
  if (!props.value) return clear();
  const wanted = JSON.parse(props.value);
  showAllIfModelsChanged(wanted);
  const image = await pixels(wanted.image);
  const truth = wanted.truth ? everyFourth(await pixels(wanted.truth)) : null;
  const maps = [];
  for (const panel of wanted.panels) {
    const mask = panel.mask ? everyFourth(await pixels(panel.mask)) : null;
    maps.push({ levels: everyFourth(await pixels(panel.levels)), mask });
  }
  if (!props.value || JSON.parse(props.value).key !== wanted.key) return;
  const another = scene?.source !== wanted.image;
  scene = { ...wanted, source: wanted.image, image, truth };
  build(maps);
  if (another) resetZoom();
  root.dataset.key = scene.key;
  draw();
}

function clear() {
  scene = null;
  scores = {};
  panels = [];
  grid.innerHTML = EMPTY;
  legend.replaceChildren();
}

// Called before the pictures are decoded: a choice made meanwhile applies to the new panels.
function showAllIfModelsChanged(wanted) {
  const names = wanted.panels.map((panel) => panel.name).sort().join();
  if (names !== coming) settings.names = null;
  coming = names;
}

// ---- panels
function build(maps) {
  grid.replaceChildren();
  panels = [add("image", "Image", "")];
  if (scene.truth) panels.push(add("truth", "True mask", ""));
  scene.panels.forEach((panel, i) =>
    panels.push({ ...add(panel.name, panel.label, panel.detail), ...maps[i], votes: panel.votes }));
  panels.push(add("votes", "Agreement", "strategies that mark a pixel"));
  panels.push(add("consensus", "Consensus", "marked by more than half"));
}

function add(name, label, detail) {
  const figure = document.createElement("figure");
  figure.dataset.panel = name;
  figure.tabIndex = 0;
  figure.setAttribute("role", "group");
  figure.setAttribute("aria-label", label);
  const frame = document.createElement("div");
  frame.className = "frame";
  const canvas = document.createElement("canvas");
  canvas.width = scene.width;
  canvas.height = scene.height;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  const caption = document.createElement("figcaption");
  const title = document.createElement("b"), note = document.createElement("span");
  title.textContent = label;
  note.textContent = detail;
  caption.append(title, note);
  frame.append(canvas);
  figure.append(frame, caption);
  grid.append(figure);
  const picture = new ImageData(scene.width, scene.height);
  return { name, label, detail, figure, canvas, note, picture };
}

// ---- from probabilities to masks
function maskOf(panel) {
  const level = Math.round(settings.threshold * 100);
  const mask = new Uint8Array(panel.levels.length), decided = panel.mask;  // The most probable of several.
  for (let i = 0; i < mask.length; i++) mask[i] = (decided ? decided[i] : panel.levels[i] >= level) ? 1 : 0;
  const smallest = Math.ceil(settings.smallest / 100 * scene.full - 1e-9) * scene.scale;
  return smallest > 1 ? withoutSmall(mask, smallest) : mask;
}

function withoutSmall(mask, smallest) {
  const { width, height } = scene, seen = new Uint8Array(mask.length), small = [];
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || seen[start]) continue;
    const region = [start];
    seen[start] = 1;
    for (let at = 0; at < region.length; at++) {
      const x = region[at] % width, y = (region[at] - x) / width;
      for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, height - 1); v++)
        for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, width - 1); u++) {
          const next = v * width + u;
          if (mask[next] && !seen[next]) { seen[next] = 1; region.push(next); }
        }
    }
    if (region.length < smallest) small.push(region);
  }
  for (const region of small) for (const index of region) mask[index] = 0;
  return mask;
}

// Indices of the pixels of a mask that are at most `depth` steps from its outside.
function rim(mask, depth) {
  const { width, height } = scene, edge = [];
  let inside = mask;
  for (let step = 0; step < depth; step++) {
    const left = inside.slice();
    for (let y = 0, i = 0; y < height; y++)
      for (let x = 0; x < width; x++, i++) {
        if (!inside[i]) continue;
        if (x && x < width - 1 && y && y < height - 1 &&
            inside[i - 1] && inside[i + 1] && inside[i - width] && inside[i + width]) continue;
        edge.push(i);
        left[i] = 0;
      }
    inside = left;
  }
  return edge;
}

// ---- drawing
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; paintAll(); });
}

function paintAll() {
  if (scene) paintPanels();
  root.dataset.drawn = Number(root.dataset.drawn || 0) + 1;
}

function paintPanels() {
  const votes = new Uint8Array(scene.width * scene.height);
  const shown = panels.filter((panel) => panel.levels && isShown(panel));
  const masks = new Map(shown.map((panel) => [panel, maskOf(panel)]));
  const asked = shown.some((panel) => panel.votes) ? shown.filter((panel) => panel.votes) : shown;
  for (const panel of asked) masks.get(panel).forEach((marked, i) => { votes[i] += marked; });
  const rimOfTruth = scene.truth ? rim(scene.truth, thickness()) : null;
  for (const panel of panels) {
    panel.figure.hidden = !isShown(panel);
    if (!panel.figure.hidden) paint(panel, masks.get(panel), votes, asked.length, rimOfTruth);
  }
  showLegend(asked.length, shown.filter((panel) => !asked.includes(panel)));
  showScores();
}

function isShown(panel) {
  return !panel.levels || !settings.names || settings.names.includes(panel.name);
}

function thickness() {
  return Math.max(1, Math.round(Math.max(scene.width, scene.height) / 256));
}

function paint(panel, mask, votes, voters, rimOfTruth) {
  const data = panel.picture.data;
  data.set(scene.image);
  if (panel.name === "truth") fill(data, scene.truth, TRUTH, settings.opacity);
  else if (panel.name === "votes") tint(data, votes, scene.colors.votes[voters], Math.max(settings.opacity, 0.5));
  else if (panel.name === "consensus") {
    const consensus = votes.map((count) => (count > Math.floor(voters / 2) ? 1 : 0));
    outline(data, consensus);
  } else if (settings.view === "Probability" && panel.levels) {
    tint(data, panel.levels, scene.colors.levels, Math.max(settings.opacity, 0.5));
    over(data, rim(mask, thickness()), MASK);
  } else if (panel.levels) outline(data, mask);
  if (rimOfTruth && panel.name !== "image") over(data, rimOfTruth, TRUTH);
  panel.canvas.getContext("2d").putImageData(panel.picture, 0, 0);
}

function outline(data, mask) {
  if (settings.view !== "Outline") fill(data, mask, MASK, settings.opacity);
  over(data, rim(mask, thickness()), MASK);
}

function fill(data, mask, color, opacity) {
  for (let i = 0; i < mask.length; i++) if (mask[i]) blend(data, 4 * i, color, opacity);
}

function tint(data, values, colors, opacity) {
  for (let i = 0; i < values.length; i++) if (values[i]) blend(data, 4 * i, colors[values[i]], opacity);
}

function over(data, indices, color) {
  for (const i of indices) blend(data, 4 * i, color, 1);
}

function blend(data, at, color, opacity) {
  for (let c = 0; c < 3; c++) data[at + c] += (color[c] - data[at + c]) * opacity;
}

// ---- captions and legend
function showScores() {
  for (const panel of panels) {
    const score = scores[panel.name];
    panel.figure.classList.toggle("best", Boolean(score && score.best));
    if (score) panel.note.textContent = `${score.text} · ${panel.detail}`;
  }
}

function showLegend(voters, others) {
  const without = others.length ? `, without ${others.map((panel) => panel.label).join(", ")}` : "";
  const bar = (colors) => `<i class="bar" style="background:linear-gradient(90deg,${colors.map((c) => `rgb(${c})`).join()})"></i>`;
  const key = (color, words) => `<span><i style="background:rgb(${color})"></i>${words}</span>`;
  const parts = [key(MASK, "model")];
  if (scene.truth) parts.push(key(TRUTH, "true mask"));
  if (voters > 1) parts.push(`<span>1 ${bar(scene.colors.votes[voters].slice(1))} ${voters} strategies agree${escaped(without)}</span>`);
  if (settings.view === "Probability") parts.push(`<span>0 ${bar(scene.colors.levels)} 1 probability</span>`);
  legend.innerHTML = parts.join("");
}

function escaped(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span.innerHTML;
}

// ---- zoom, in step across all panels
function applyZoom() {
  const most = (zoom.factor - 1) * 100;
  zoom.x = Math.min(0, Math.max(-most, zoom.x));
  zoom.y = Math.min(0, Math.max(-most, zoom.y));
  root.style.setProperty("--zoom", zoom.factor);
  root.style.setProperty("--x", `${zoom.x}%`);
  root.style.setProperty("--y", `${zoom.y}%`);
  root.classList.toggle("zoomed", zoom.factor > 1);
  root.dataset.zoom = zoom.factor.toFixed(2);
}

function zoomBy(ratio, u = 0.5, v = 0.5) {
  const factor = Math.min(MOST_ZOOM, Math.max(1, zoom.factor * ratio));
  const change = factor / zoom.factor;
  zoom.x = 100 * u - (100 * u - zoom.x) * change;
  zoom.y = 100 * v - (100 * v - zoom.y) * change;
  zoom.factor = factor;
  applyZoom();
}

function resetZoom() {
  Object.assign(zoom, { factor: 1, x: 0, y: 0 });
  applyZoom();
}

function place(event) {
  const frame = event.target.closest(".frame");
  if (!frame) return null;
  const box = frame.getBoundingClientRect();
  return { u: (event.clientX - box.left) / box.width, v: (event.clientY - box.top) / box.height, box };
}

const touches = new Map();
grid.addEventListener("wheel", (event) => {
  const at = place(event);
  if (!at || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY / 300), at.u, at.v);
}, { passive: false });
grid.addEventListener("dblclick", (event) => { const at = place(event); if (at) zoomBy(2, at.u, at.v); });
grid.addEventListener("pointerdown", (event) => {
  if (place(event)) touches.set(event.pointerId, event);
});
grid.addEventListener("pointermove", (event) => {
  const at = place(event), before = touches.get(event.pointerId);
  root.classList.toggle("pointing", Boolean(at));
  if (!at) return;
  root.style.setProperty("--u", `${100 * at.u}%`);
  root.style.setProperty("--v", `${100 * at.v}%`);
  if (!before) return;
  if (touches.size === 2) pinch(before, event, at);
  else if (zoom.factor > 1) {
    zoom.x += 100 * (event.clientX - before.clientX) / at.box.width;
    zoom.y += 100 * (event.clientY - before.clientY) / at.box.height;
    applyZoom();
  }
  touches.set(event.pointerId, event);
});
for (const kind of ["pointerup", "pointercancel", "pointerleave"])
  grid.addEventListener(kind, (event) => {
    touches.delete(event.pointerId);
    if (kind === "pointerleave") root.classList.remove("pointing");
  });

function pinch(before, event, at) {
  const [other] = [...touches.values()].filter((touch) => touch.pointerId !== event.pointerId);
  const apart = (touch) => Math.hypot(touch.clientX - other.clientX, touch.clientY - other.clientY);
  if (apart(before) > 0) zoomBy(apart(event) / apart(before), at.u, at.v);
}

const steps = { ArrowLeft: [10, 0], ArrowRight: [-10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] };
grid.addEventListener("keydown", (event) => {
  if (event.key === "+" || event.key === "=") zoomBy(1.5);
  else if (event.key === "-") zoomBy(1 / 1.5);
  else if (event.key === "0") resetZoom();
  else if (steps[event.key] && zoom.factor > 1) {
    zoom.x += steps[event.key][0] * zoom.factor;
    zoom.y += steps[event.key][1] * zoom.factor;
    applyZoom();
  } else return;
  event.preventDefault();
});
root.querySelector("[data-zoom=in]").onclick = () => zoomBy(1.5);
root.querySelector("[data-zoom=out]").onclick = () => zoomBy(1 / 1.5);
root.querySelector("[data-zoom=fit]").onclick = resetZoom;

// ---- what the page's other controls call
window.kerasunetViewer = {
  set(changes) { Object.assign(settings, changes); draw(); },
  score(lines) { scores = lines || {}; if (scene) showScores(); },
};
watch("value", load);
load();

// ---- an image pasted anywhere on the tab goes to the uploader and replaces the file there
document.addEventListener("paste", (event) => {
  const image = [...(event.clipboardData?.files || [])][0];
  if (!image || !element.offsetParent) return;
  document.querySelector("#compare-image button[aria-label=Clear]")?.click();
  requestAnimationFrame(() => hand(image, 20));
});

function hand(image, tries) {
  const input = document.querySelector("#compare-image input[type=file]");
  if (!input) {
    if (tries) setTimeout(() => hand(image, tries - 1), 50);
    return;
  }
  const parcel = new DataTransfer();
  parcel.items.add(image);
  input.files = parcel.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}
