// The page: a camera that is moved by mouse, touch and keyboard, and the controls around the picture.
// Cameras follow anyviews: OpenCV axes (x right, y down, z forward), rotation and center are camera-to-world, the
// rotation's nine numbers one row after the other, intrinsics in pixels.

const BACKGROUNDS = {
  black: { background: [0, 0, 0], surround: [0.11, 0.11, 0.11] },
  gray: { background: [0.5, 0.5, 0.5], surround: [0.38, 0.38, 0.38] },
  white: { background: [1, 1, 1], surround: [0.88, 0.88, 0.88] },
};

// Where no camera says what is up: the axis that does, and where the first view stands.
const UPS = {
  "+y": { up: [0, 1, 0], front: [0, 0, 1] },
  "-y": { up: [0, -1, 0], front: [0, 0, -1] },
  "+z": { up: [0, 0, 1], front: [0, -1, 0] },
  "-z": { up: [0, 0, -1], front: [0, 1, 0] },
};

// Gaussians whose centre is not farther along the camera's axis are left out, as by render_gaussians; in scenes much
// smaller than this, a hundredth of their radius.
const NEAR = 0.01;
const NEAR_PLANE = 1e-3; // where solid things begin, in radii of the scene

const FIELD_OF_VIEW = 50; // degrees, of the first view without cameras
const FIRST_ELEVATION = 0.25; // radians above the horizon, of the same
const STEEPEST = 1.55; // radians between the horizon and where a camera that turns may look
const NEAREST = 0.02, FARTHEST = 1000; // that the camera turns about, in radii of the scene
const LARGEST_PIXEL_RATIO = 2; // finer screens are slow and look the same

const element = (id) => document.getElementById(id);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const along = (point, direction, length) => point.map((value, i) => value + length * direction[i]);
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const column = (rotation, i) => [rotation[i], rotation[3 + i], rotation[6 + i]];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Rodrigues' formula: `vector` turned about a unit axis.
function turned(vector, axis, angle) {
  const cosine = Math.cos(angle), sine = Math.sin(angle);
  const side = cross(axis, vector), height = dot(axis, vector) * (1 - cosine);
  return vector.map((value, i) => value * cosine + side[i] * sine + axis[i] * height);
}

// What a page holds under a name: bytes, in base64.
function bytesOf(id) {
  const text = atob(element(id).textContent);
  element(id).remove();
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// A part of the scene with its blocks read and its pictures decoded.
async function loaded(part) {
  const read = { ...part };
  for (const [name, id] of Object.entries(part.blocks ?? {})) read[name] = bytesOf(id);
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  for (const [name, id] of Object.entries(part.pictures ?? {})) {
    read[name] = await createImageBitmap(new Blob([bytesOf(id)]), options);
  }
  return read;
}

function show(message) {
  element("message").firstElementChild.textContent = message;
  element("message").hidden = false;
  document.documentElement.dataset.state = "failed";
}

// A camera that looks at the origin, from the front of the axis that points up.
function frontCamera({ up, front }, radius) {
  const size = [1000, 1000], focal = 500 / Math.tan((FIELD_OF_VIEW * Math.PI) / 360);
  const distance = radius / Math.sin((FIELD_OF_VIEW * Math.PI) / 360);
  const forward = front.map((value) => -value), down = up.map((value) => -value), right = cross(down, forward);
  const rotation = [0, 1, 2].flatMap((i) => [right[i], down[i], forward[i]]);
  const center = front.map((value) => value * distance);
  return { size, focal: [focal, focal], skew: 0, principal: [500, 500], rotation, center };
}

// The camera's image in a canvas of `width` x `height`: as large as fits, with only itself in it where it is exact,
// and continued to the canvas's borders where it is not.
function fitted(camera, exact, width, height) {
  const [w, h] = camera.size, scale = Math.min(width / w, height / h);
  if (exact) {
    const size = [Math.max(1, Math.round(w * scale)), Math.max(1, Math.round(h * scale))];
    const x = size[0] / w, y = size[1] / h;
    return {
      size, left: Math.floor((width - size[0]) / 2), top: Math.floor((height - size[1]) / 2),
      focal: [camera.focal[0] * x, camera.focal[1] * y], skew: camera.skew * x,
      principal: [camera.principal[0] * x, camera.principal[1] * y],
    };
  }
  return {
    size: [width, height], left: 0, top: 0,
    focal: camera.focal.map((value) => value * scale), skew: camera.skew * scale,
    principal: [(width - w * scale) / 2 + camera.principal[0] * scale,
      (height - h * scale) / 2 + camera.principal[1] * scale],
  };
}

const LAYERS = { gaussians: GaussianLayer, mesh: MeshLayer, points: PointLayer };

class Viewer {
  // steps: for each step of the scene its parts by name, loaded; frusta: the pyramids of the cameras, loaded, or null.
  constructor(canvas, gl, scene, steps, frusta) {
    this.canvas = canvas;
    this.scene = scene;
    this.steps = steps.map((parts) => Object.fromEntries(Object.entries(parts).map(
      ([name, part]) => [name, new LAYERS[name](gl, part, () => this.invalidate())])));
    this.frusta = frusta && new FrustumLayer(gl, scene.cameras, frusta);
    this.picture = new Picture(gl, Boolean(frusta) || this.steps.some((layers) => layers.mesh || layers.points));
    this.near = Math.min(NEAR, this.scene.radius / 100);
    this.step = steps.length - 1;
    this.look = { size: 1, surest: 1, harmonics: true, frusta: true, depth: false, lit: this.scene.lit,
      background: "black", up: "+y", shown: this.firstShown() };
    this.revision = 0; // of the pose
    this.keys = new Set(); // held now
    this.shifted = false;
    this.pointers = new Map();
    this.reset();
  }

  // The first kind that there is, and others that steps have in its place.
  firstShown() {
    const first = Object.keys(LAYERS).find((name) => this.has(name));
    const alone = (name) => this.steps.some((layers) => layers[name] && !layers[first]);
    return Object.fromEntries(Object.keys(LAYERS).map((name) => [name, name === first || alone(name)]));
  }

  has(name) {
    return this.steps.some((layers) => layers[name]);
  }

  // What is seen now, solid things first.
  layers() {
    const layers = Object.entries(this.steps[this.step]).filter(([name]) => this.look.shown[name]);
    return layers.map(([, layer]) => layer).sort((a, b) => b.solid - a.solid);
  }

  // `number` of a given camera, whose image is shown alone where `exact`.
  jump(number, exact) {
    this.start(this.scene.cameras[number], number, exact);
  }

  reset() {
    if (this.scene.cameras.length) {
      this.up = this.scene.up;
      this.front = this.scene.cameras[0];
      this.jump(0, false);
    } else {
      const upright = UPS[this.look.up];
      this.up = upright.up;
      this.start(frontCamera(upright, this.scene.radius), -1, false);
      this.front = { ...this.camera };
      this.distance = Math.hypot(...this.camera.center); // about the middle of all, not about what is in front
      this.orbit(0, FIRST_ELEVATION);
    }
  }

  start(camera, number, exact) {
    this.camera = { ...camera };
    this.number = number;
    this.exact = exact;
    this.distance = this.distanceAhead();
    this.moved();
  }

  // The median depth of what is seen around the image's centre: what the camera turns about.
  distanceAhead() {
    const { rotation, center, focal, size } = this.camera;
    const axes = [0, 1, 2].map((i) => column(rotation, i)), depths = [];
    for (const { positions } of this.layers()) {
      const step = 3 * Math.ceil(positions.length / 3 / 50000);
      for (let i = 0; i < positions.length; i += step) {
        const [x, y, z] = axes.map((axis) => dot(axis, [0, 1, 2].map((k) => positions[i + k] - center[k])));
        if (z > this.near && Math.abs(x / z) < size[0] / focal[0] / 4 && Math.abs(y / z) < size[1] / focal[1] / 4) {
          depths.push(z);
        }
      }
    }
    return depths.length ? depths.sort((a, b) => a - b)[depths.length >> 1] : this.scene.radius;
  }

  moved() {
    this.revision++;
    this.invalidate();
  }

  // After a movement by hand the view is no longer that of a given camera.
  leave() {
    this.exact = false;
    this.number = -1;
    this.moved();
  }

  orbit(right, down) {
    const { camera } = this, axis = column(camera.rotation, 2);
    const pivot = along(camera.center, axis, this.distance), level = cross(axis, this.up);
    const length = Math.hypot(...level);
    const sideways = length > 1e-3 ? level.map((value) => value / length) : column(camera.rotation, 0);
    const steepness = Math.asin(clamp(dot(axis, this.up), -1, 1)), limit = Math.max(Math.abs(steepness), STEEPEST);
    const pitch = clamp(steepness - down, -limit, limit) - steepness;
    const turn = (vector) => turned(turned(vector, sideways, pitch), this.up, -right);
    const [x, y, z] = [0, 1, 2].map((i) => turn(column(camera.rotation, i)));
    camera.rotation = [0, 1, 2].flatMap((i) => [x[i], y[i], z[i]]);
    camera.center = along(pivot, z, -this.distance);
    this.leave();
  }

  // So that what lies at the turning distance follows a pointer that moves by so many pixels of the canvas.
  pan(right, down) {
    const { camera, canvas } = this, { focal } = fitted(camera, this.exact, canvas.width, canvas.height);
    const center = along(camera.center, column(camera.rotation, 0), (-right * this.distance) / focal[0]);
    camera.center = along(center, column(camera.rotation, 1), (-down * this.distance) / focal[1]);
    this.leave();
  }

  // Towards the point that the camera turns about; near to it, that point moves on ahead.
  zoom(factor) {
    const { camera, scene } = this, forward = this.distance * (1 - factor);
    camera.center = along(camera.center, column(camera.rotation, 2), forward);
    this.distance = clamp(this.distance - forward, NEAREST * scene.radius, FARTHEST * scene.radius);
    this.leave();
  }

  invalidate() {
    if (this.scheduled) return;
    this.scheduled = true;
    document.documentElement.dataset.state = "moving";
    requestAnimationFrame((time) => this.frame(time));
  }

  frame(time) {
    this.scheduled = false;
    const elapsed = time - this.lastTime;
    this.lastTime = time;
    this.moveByKeys((elapsed < 100 ? elapsed : 16) / 1000); // the first frame after a rest takes no leap
    this.resize();
    const fit = fitted(this.camera, this.exact, this.canvas.width, this.canvas.height);
    const view = {
      ...fit, bottom: this.canvas.height - fit.top - fit.size[1], rotation: this.camera.rotation,
      center: this.camera.center, near: this.near, nearPlane: NEAR_PLANE * this.scene.radius, revision: this.revision,
    };
    const settled = this.draw(view);
    this.showState(elapsed);
    if (this.keys.size) this.invalidate();
    else if (settled && !this.scheduled) document.documentElement.dataset.state = "settled";
  }

  // Draws everything; returns whether it is in the order that this view needs.
  draw(view) {
    const colors = BACKGROUNDS[this.look.background], side = column(this.front.rotation, 0);
    const lamp = along(along(side.map((value) => -value), this.up, 1), column(this.front.rotation, 2), -1);
    const size = Math.hypot(...lamp) || 1;
    const look = { ...this.look, ...colors, upDirection: this.up, lamp: lamp.map((value) => value / size) };
    const layers = this.layers(), settled = layers.map((layer) => layer.ready(view)).every(Boolean);
    this.picture.begin(view, look);
    this.picture.solid(true);
    // a given camera's own picture shows what the scene looks like, and nothing else
    if (this.frusta && look.frusta && !this.exact) this.frusta.draw(view, look);
    for (const layer of layers) {
      this.picture.solid(layer.solid);
      layer.draw(view, look);
    }
    this.picture.end();
    return settled;
  }

  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, LARGEST_PIXEL_RATIO);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
  }

  moveByKeys(seconds) {
    const pressed = (name) => (this.keys.has(name) ? 1 : 0);
    const right = pressed("ArrowRight") - pressed("ArrowLeft"), down = pressed("ArrowDown") - pressed("ArrowUp");
    const out = pressed("-") - pressed("+");
    const pixels = 0.5 * this.canvas.height * seconds;
    if (right || down) {
      if (this.shifted) this.pan(-right * pixels, -down * pixels);
      else this.orbit(-1.2 * right * seconds, -1.2 * down * seconds);
    }
    if (out) this.zoom(Math.exp(1.2 * out * seconds));
  }

  showState(elapsed) {
    if (elapsed < 250) this.smoothed = this.smoothed ? 0.9 * this.smoothed + 0.1 * elapsed : elapsed;
    if (this.smoothed) element("rate").textContent = `\u00b7 ${Math.round(1000 / this.smoothed)} frames/s`;
    element("camera").value = String(this.number);
  }
}
