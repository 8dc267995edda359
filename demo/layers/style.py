"""How the Layers tab looks; rules are scoped to the component that they are given to."""

PRESET = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-strategy]");
  if (button) trigger("pick", {...button.dataset});
});
"""
"""Tells Python which preset was clicked."""

COLLECT = """
const clicks = (window.kerasunetClicks ??= { names: [], until: 0, send() {} });
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-name]");
  if (!button) return;
  clicks.names.push(button.dataset.name);
  clicks.send();
});
"""
"""Notes which blocks and layers were clicked."""

TOGGLE = f"""{COLLECT}
const PATIENCE = 4000;
clicks.send = () => {{
  if (!clicks.names.length || Date.now() < clicks.until) return;
  clicks.until = Date.now() + PATIENCE;
  setTimeout(clicks.send, PATIENCE);
  trigger("pick", {{ names: clicks.names.splice(0) }});
}};
watch("value", () => {{ clicks.until = 0; clicks.send(); }});
"""
"""Tells Python of all clicks since the last drawing, once that is seen: a fast one starts from what
the one before it has made of the strategy.
"""

_BUTTONS = """
button { font: inherit; color: var(--body-text-color); cursor: pointer;
  background: var(--background-fill-primary); border: 1.5px dashed var(--neutral-500);
  border-radius: 6px; }
button[aria-pressed=true] { background: #0f766e; border: 1.5px solid #0f766e; color: #fff; }
button[aria-pressed=mixed] { border: 1.5px solid #0d9488;
  background: repeating-linear-gradient(135deg, transparent 0 6px, #0d948833 6px 12px); }
button * { color: inherit; }
button:hover { filter: brightness(1.12); border-style: solid; }
button:focus-visible { outline: 3px solid var(--secondary-500); outline-offset: 2px; }
"""

DIAGRAM = (
    _BUTTONS
    + """
.unet svg { display: block; width: 100%; max-width: 480px; margin: 0 auto; overflow: visible;
  font-size: 14px; }
.unet path { fill: none; stroke: var(--neutral-500); stroke-width: 1.5; }
.unet path.skip { stroke-dasharray: 5 4; }
.unet marker path { fill: var(--neutral-500); stroke: none; }
.unet text { fill: var(--body-text-color); text-anchor: middle; font-size: 12px; }
.unet foreignObject { overflow: visible; }
.unet button { width: 100%; height: 100%; padding: 0 2px; line-height: 1.35;
  white-space: nowrap; overflow: hidden; }
.unet small { font-size: 12px; }
"""
)

SINGLE_LAYERS = (
    _BUTTONS
    + """
.single-layers { display: grid; gap: 6px; }
.single-layers > div { display: grid; grid-template-columns: 6em 1fr; align-items: start; }
.single-layers > div > div { display: flex; flex-wrap: wrap; gap: 6px; }
.single-layers span { font-weight: 600; line-height: 28px; }
.single-layers button { padding: 3px 9px; min-height: 28px; font-size: 13px; }
"""
)

PRESETS = (
    _BUTTONS
    + """
.presets { display: grid; gap: 6px; }
.presets > div { display: grid; grid-template-columns: 11.5em 1fr; align-items: start; }
.presets > div > div { display: flex; flex-wrap: wrap; gap: 6px; }
.presets span { font-size: 14px; line-height: 28px; }
.presets button { padding: 3px 10px; min-width: 30px; min-height: 28px; font-size: 14px;
  border-style: solid; }
@media (max-width: 640px) {
  .presets > div { grid-template-columns: 1fr; }
  .presets button { min-width: 34px; min-height: 34px; }
}
"""
)

FACTS = """
dl.facts { display: grid; grid-template-columns: 1fr; gap: 2px; margin: 0; }
dl.facts dt { font-size: 14px; } dl.facts dd { margin: 0 0 12px; }
dl.facts b { font-size: 24px; font-variant-numeric: tabular-nums; }
.bar { display: block; height: 8px; border-radius: 4px; margin: 4px 0 2px; overflow: hidden;
  background: rgb(100 116 139 / .35); }
.bar i { display: block; height: 100%; background: #0d9488; }
.share, .how { font-size: 14px; }
"""
