// Mouse, pen and fingers: one turns (or moves, with the right button or Shift), two move and zoom.
function followPointers(viewer) {
  const { canvas, pointers } = viewer;
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, length: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last || pointers.size > 2) return;
    const before = pointers.size === 2 ? spread() : null, ratio = canvas.width / canvas.clientWidth;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const right = event.clientX - last.x, down = event.clientY - last.y;
    if (before) {
      const after = spread();
      viewer.pan((after.x - before.x) * ratio, (after.y - before.y) * ratio);
      viewer.zoom(before.length / after.length);
    } else if (event.shiftKey || event.buttons & 6) viewer.pan(right * ratio, down * ratio);
    else {
      const perPixel = Math.PI / Math.min(canvas.clientWidth, canvas.clientHeight);
      viewer.orbit(right * perPixel, down * perPixel);
    }
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : 30;
    viewer.zoom(Math.exp(0.0015 * clamp(event.deltaY * lines, -300, 300)));
  }, { passive: false });
}

// Keys that move the camera as long as they are held, and keys that do something once.
function followKeys(viewer, actions) {
  const held = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "+", "-"];
  const name = (event) => ({ "=": "+", "_": "-" })[event.key] ?? event.key;
  addEventListener("keydown", (event) => {
    viewer.shifted = event.shiftKey;
    if (event.ctrlKey || event.metaKey || event.altKey) viewer.keys.clear();
    else if (event.target.closest("input, select")) return;
    else if (held.includes(name(event))) {
      viewer.keys.add(name(event));
      viewer.invalidate();
      event.preventDefault();
    } else if (!event.repeat) actions[event.key.toLowerCase()]?.();
  });
  addEventListener("keyup", (event) => {
    viewer.shifted = event.shiftKey;
    viewer.keys.delete(name(event));
  });
  addEventListener("blur", () => viewer.keys.clear());
}

// What there is, in words.
function contents({ scene, steps, step }) {
  const number = (value) => value.toLocaleString("en");
  const words = Object.values(steps[step]).map((layer) => `${number(layer.count)} ${layer.noun}`);
  if (scene.frusta) words.push(`${number(scene.cameras.length)} camera${scene.cameras.length === 1 ? "" : "s"}`);
  return words.join(", ");
}

// Buttons and their keys.
function setUpControls(viewer) {
  const { scene, look } = viewer, cameras = scene.cameras.length;
  const notices = [...scene.notices];
  element("camera").append(new Option("free view", "-1"));
  for (let i = 0; i < cameras; i++) element("camera").append(new Option(scene.cameras[i].name, String(i)));
  element("cameras").hidden = !cameras;
  element("up").hidden = cameras > 0;
  const kinds = Object.keys(LAYERS).filter((name) => viewer.has(name));
  for (const name of Object.keys(LAYERS)) element(`${name}-label`).hidden = !(kinds.includes(name) && kinds.length > 1);
  element("harmonics-label").hidden = !viewer.steps.some((layers) => layers.gaussians?.degree);
  element("size-label").hidden = !(viewer.has("gaussians") || viewer.has("points"));
  element("surest-label").hidden = !scene.confident;
  element("frusta-label").hidden = !viewer.frusta;
  element("depth-label").hidden = !viewer.frusta?.pictures.every(Boolean);
  element("lit-label").hidden = !viewer.has("mesh");
  element("steps").hidden = viewer.steps.length < 2;
  element("step").max = String(viewer.steps.length - 1);

  const update = () => {
    element("background").textContent = `Background: ${look.background}`;
    element("up").textContent = `Up: ${look.up}`;
    for (const name of ["harmonics", "frusta", "depth", "lit"]) element(name).checked = look[name];
    for (const name of kinds) element(name).checked = Boolean(look.shown[name]);
    element("size").value = String(look.size);
    element("surest").value = String(look.surest);
    element("step").value = String(viewer.step);
    element("step-name").textContent = scene.stepNames[viewer.step];
    element("count").textContent = contents(viewer);
    element("notice").textContent = notices.join(" ");
    element("notice").hidden = !notices.length;
    viewer.invalidate();
  };
  const following = (table, name) => {
    const names = Object.keys(table);
    return names[(names.indexOf(name) + 1) % names.length];
  };
  const hide = (hidden, leaveButton = true) => {
    for (const id of ["heading", "controls"]) element(id).hidden = hidden;
    element("show").hidden = !hidden || !leaveButton;
  };
  const step = (by) => {
    const from = Math.max(viewer.number, by < 0 ? 0 : -1);
    if (cameras) viewer.jump((from + by + cameras) % cameras, true);
  };
  const actions = {
    r: () => viewer.reset(),
    n: () => step(1),
    p: () => step(-1),
    b: () => { look.background = following(BACKGROUNDS, look.background); update(); },
    c: () => { look.harmonics = !look.harmonics; update(); },
    f: () => { look.frusta = !look.frusta; update(); },
    d: () => { look.depth = !look.depth; update(); },
    l: () => { look.lit = !look.lit; update(); },
    u: () => {
      if (cameras) return;
      look.up = following(UPS, look.up);
      viewer.reset();
      update();
    },
    h: () => hide(!element("controls").hidden),
  };
  const buttons = { reset: "r", next: "n", previous: "p", background: "b", up: "u", hide: "h", show: "h" };
  for (const [id, key] of Object.entries(buttons)) element(id).addEventListener("click", actions[key]);
  for (const [id, key] of Object.entries({ harmonics: "c", frusta: "f", depth: "d", lit: "l" })) {
    element(id).addEventListener("change", actions[key]);
  }
  for (const name of kinds) {
    element(name).addEventListener("change", (event) => { look.shown[name] = event.target.checked; update(); });
  }
  for (const name of ["size", "surest"]) {
    element(name).addEventListener("input", (event) => { look[name] = Number(event.target.value); update(); });
  }
  element("step").addEventListener("input", (event) => { viewer.step = Number(event.target.value); update(); });
  element("camera").addEventListener("change", (event) => {
    if (Number(event.target.value) >= 0) viewer.jump(Number(event.target.value), true);
    event.target.blur();
  });
  followKeys(viewer, actions);

  setUpAddress(viewer, { hide, update, notices });
}

// The settings behind the # of the page's address, each with what it accepts.
function setUpAddress(viewer, { hide, update, notices }) {
  const { look, scene } = viewer, cameras = scene.cameras.length, standing = notices.length;
  const isSwitch = (value) => value === "0" || value === "1";
  const settings = {
    camera: [(value) => /^\d+$/.test(value) && Number(value) < cameras, (value) => viewer.jump(Number(value), true)],
    up: [(value) => !cameras && Object.hasOwn(UPS, value), (value) => { look.up = value; viewer.reset(); }],
    background: [(value) => Object.hasOwn(BACKGROUNDS, value), (value) => { look.background = value; }],
    size: [(value) => Number(value) > 0 && Number(value) <= 100, (value) => { look.size = Number(value); }],
    surest: [(value) => Number(value) >= 0 && Number(value) <= 1, (value) => { look.surest = Number(value); }],
    step: [(value) => /^\d+$/.test(value) && Number(value) < viewer.steps.length,
      (value) => { viewer.step = Number(value); }],
    show: [(value) => value.split(",").every((name) => viewer.has(name)),
      (value) => { look.shown = Object.fromEntries(value.split(",").map((name) => [name, true])); }],
    ui: [isSwitch, (value) => hide(value === "0", false)],
  };
  for (const name of ["harmonics", "frusta", "depth", "lit"]) {
    settings[name] = [isSwitch, (value) => { look[name] = value === "1"; }];
  }
  const read = () => {
    notices.length = standing;
    // a plus would be read as a space
    for (const [name, value] of new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B"))) {
      const [accepts, set] = Object.hasOwn(settings, name) ? settings[name] : [() => false];
      if (accepts(value)) set(value);
      else notices.push(`The address asks for ${name}=${value}, which this page does not have.`);
    }
    update();
  };
  addEventListener("hashchange", read);
  read();
}

async function main() {
  const canvas = element("canvas");
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
  if (!gl) {
    show("This browser offers no WebGL2, which this page draws with. Switch hardware acceleration on in its settings, "
      + "or open the page in a current Firefox, Chrome, Edge or Safari.");
    return;
  }
  canvas.addEventListener("webglcontextlost", () => show("The graphics unit was reset. Reload the page to go on."));
  try {
    const scene = JSON.parse(element("scene").textContent), steps = [];
    for (const parts of scene.steps) {
      const read = {};
      for (const [name, part] of Object.entries(parts)) read[name] = await loaded(part);
      steps.push(read);
    }
    const viewer = new Viewer(canvas, gl, scene, steps, scene.frusta && (await loaded(scene.frusta)));
    followPointers(viewer);
    setUpControls(viewer);
    new ResizeObserver(() => viewer.invalidate()).observe(canvas);
    element("message").hidden = true;
  } catch (error) {
    show(`The scene cannot be drawn: ${error.message}`);
    throw error;
  }
}

main();
