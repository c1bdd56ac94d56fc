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

// Buttons and their keys.
function setUpControls(viewer) {
  const { scene, look } = viewer, shown = viewer.renderer.total, cameras = scene.cameras.length;
  const number = (value) => value.toLocaleString("en");
  element("count").textContent = `${number(shown)} Gaussians`;
  const notices = [];
  if (shown < scene.given) notices.push(`These are the ${number(shown)} most visible of ${number(scene.given)}.`);
  element("camera").append(new Option("free view", "-1"));
  for (let i = 0; i < cameras; i++) element("camera").append(new Option(`camera ${i}`, String(i)));
  element("cameras").hidden = !cameras;
  element("up").hidden = cameras > 0;
  element("harmonics-label").hidden = !scene.degree;

  const update = () => {
    element("background").textContent = `Background: ${look.background}`;
    element("up").textContent = `Up: ${look.up}`;
    element("harmonics").checked = look.degree > 0;
    element("size").value = String(look.size);
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
    c: () => { look.degree = look.degree ? 0 : scene.degree; update(); },
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
  element("harmonics").addEventListener("change", actions.c);
  element("size").addEventListener("input", (event) => { look.size = Number(event.target.value); update(); });
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
  const settings = {
    camera: [(value) => /^\d+$/.test(value) && Number(value) < cameras, (value) => viewer.jump(Number(value), true)],
    up: [(value) => !cameras && Object.hasOwn(UPS, value), (value) => { look.up = value; viewer.reset(); }],
    background: [(value) => Object.hasOwn(BACKGROUNDS, value), (value) => { look.background = value; }],
    size: [(value) => Number(value) > 0 && Number(value) <= 100, (value) => { look.size = Number(value); }],
    harmonics: [(value) => value === "0" || value === "1", (value) => { look.degree = scene.degree * Number(value); }],
    ui: [(value) => value === "0" || value === "1", (value) => hide(value === "0", false)],
  };
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

function main() {
  const canvas = element("canvas");
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
  if (!gl) {
    show("This browser offers no WebGL2, which this page draws with. Switch hardware acceleration on in its settings, "
      + "or open the page in a current Firefox, Chrome, Edge or Safari.");
    return;
  }
  canvas.addEventListener("webglcontextlost", () => show("The graphics unit was reset. Reload the page to go on."));
  try {
    const viewer = new Viewer(canvas, gl);
    followPointers(viewer);
    setUpControls(viewer);
    new ResizeObserver(() => viewer.invalidate()).observe(canvas);
    element("message").hidden = true;
  } catch (error) {
    show(`The Gaussians cannot be drawn: ${error.message}`);
    throw error;
  }
}

main();
