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

function bytesOf(id) {
  const text = atob(element(id).textContent);
  element(id).remove();
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
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

class Viewer {
  constructor(canvas, gl) {
    this.canvas = canvas;
    this.scene = JSON.parse(element("scene").textContent);
    const records = new Uint32Array(bytesOf("records").buffer);
    const numbers = new Float32Array(records.buffer);
    this.means = new Float32Array(3 * (records.length / 8));
    for (let i = 0; i < this.means.length; i++) this.means[i] = numbers[8 * Math.floor(i / 3) + (i % 3)];
    this.renderer = new GaussianRenderer(gl, records, bytesOf("coefficients"), this.scene);
    this.near = Math.min(NEAR, this.scene.radius / 100);
    this.look = { size: 1, degree: this.scene.degree, background: "black", up: "+y" };
    this.revision = 0; // of the pose
    this.sorted = -1; // revision that the order of the Gaussians belongs to
    this.keys = new Set(); // held now
    this.shifted = false;
    this.pointers = new Map();
    this.sorter = new BackgroundSorter(this.means, (view, order) => {
      this.renderer.setOrder(order);
      this.sorted = view.revision;
      this.invalidate();
    });
    this.reset();
  }

  // `number` of a given camera, whose image is shown alone where `exact`.
  jump(number, exact) {
    this.start(this.scene.cameras[number], number, exact);
  }

  reset() {
    if (this.scene.cameras.length) {
      this.up = this.scene.up;
      this.jump(0, false);
    } else {
      const upright = UPS[this.look.up];
      this.up = upright.up;
      this.start(frontCamera(upright, this.scene.radius), -1, false);
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

  // The median depth of Gaussians around the image's centre: what the camera turns about.
  distanceAhead() {
    const { rotation, center, focal, size } = this.camera;
    const axes = [0, 1, 2].map((i) => column(rotation, i)), depths = [];
    const step = 3 * Math.ceil(this.means.length / 3 / 50000);
    for (let i = 0; i < this.means.length; i += step) {
      const [x, y, z] = axes.map((axis) => dot(axis, [0, 1, 2].map((k) => this.means[i + k] - center[k])));
      if (z > this.near && Math.abs(x / z) < size[0] / focal[0] / 4 && Math.abs(y / z) < size[1] / focal[1] / 4) {
        depths.push(z);
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
    const view = {
      ...fitted(this.camera, this.exact, this.canvas.width, this.canvas.height),
      rotation: this.camera.rotation, center: this.camera.center, near: this.near, revision: this.revision,
    };
    if (this.sorted !== this.revision) this.sorter.request(view);
    this.renderer.draw(view, { ...this.look, ...BACKGROUNDS[this.look.background] });
    this.showState(elapsed);
    if (this.keys.size) this.invalidate();
    else if (this.sorted === this.revision && !this.scheduled) document.documentElement.dataset.state = "settled";
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
