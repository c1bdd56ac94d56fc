// Draws 3D Gaussians with WebGL2 (Kerbl et al., SIGGRAPH 2023): every Gaussian is a quad that covers the ellipse to
// which its covariance projects (Zwicker et al., EWA splatting), and the quads are blended from back to front.
// Formulas and constants are those of anyviews/rendering/gaussians, so that both give the same pictures.

// Gaussians whose centre is not farther along the camera's axis are left out.
const NEAR = 0.01;

// Textures are this wide; a power of two, so that the shader finds a texel by shifting and masking.
const TEXTURE_WIDTH = 4096;

const VERTEX_SHADER = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
precision highp sampler2D;

const float BLUR = 0.3;                // variance in square pixels, added to every projected Gaussian
const float MARGIN = 0.3;              // the projection is linearised no farther outside the image, in half-widths
const float MIN_ALPHA = 1.0 / 255.0;

uniform usampler2D gaussians;          // two texels each, see RECORD in gaussian_html.py
uniform sampler2D harmonics;           // one texel for each coefficient above degree 0
uniform int fileDegree;                // harmonics that each Gaussian has
uniform int shownDegree;               // and those that are shown
uniform vec3 harmonicLimits;
uniform vec2 logScales;                // lowest and highest
uniform float sizeFactor;

uniform mat3 worldToCamera;
uniform vec3 cameraCenter;
uniform vec2 focal;
uniform float skew;
uniform vec2 principal;
uniform vec2 imageSize;
uniform float near;

in uint index;
in vec2 corner;                        // of the quad, -1 or 1
out vec2 offset;                       // from the centre, in standard deviations along the ellipse's axes
flat out vec4 color;

ivec2 texel(int i) {
  return ivec2(i & ${TEXTURE_WIDTH - 1}, i / ${TEXTURE_WIDTH});
}

mat3 rotationMatrix(vec3 parameters) { // modified Rodrigues parameters
  float square = dot(parameters, parameters);
  float w = (1.0 - square) / (1.0 + square);
  vec3 v = parameters * 2.0 / (1.0 + square);
  return mat3(
    1.0 - 2.0 * (v.y * v.y + v.z * v.z), 2.0 * (v.x * v.y + w * v.z), 2.0 * (v.x * v.z - w * v.y),
    2.0 * (v.x * v.y - w * v.z), 1.0 - 2.0 * (v.x * v.x + v.z * v.z), 2.0 * (v.y * v.z + w * v.x),
    2.0 * (v.x * v.z + w * v.y), 2.0 * (v.y * v.z - w * v.x), 1.0 - 2.0 * (v.x * v.x + v.y * v.y));
}

vec3 harmonic(int coefficient, int degree) {
  int perGaussian = (fileDegree + 1) * (fileDegree + 1) - 1;
  vec3 bytes = texelFetch(harmonics, texel(int(index) * perGaussian + coefficient - 1), 0).rgb * 255.0;
  vec3 s = (bytes - 128.0) / 127.0;
  return harmonicLimits[degree - 1] * s * abs(s);
}

vec3 directional(vec3 d) {             // what harmonics above degree 0 add to the colour seen along d
  float x = d.x, y = d.y, z = d.z;
  vec3 sum = vec3(0.0);
  if (shownDegree >= 1) {
    sum += 0.4886025 * (z * harmonic(2, 1) - y * harmonic(1, 1) - x * harmonic(3, 1));
  }
  if (shownDegree >= 2) {
    sum += 1.0925484 * (x * y * harmonic(4, 2) - y * z * harmonic(5, 2) - x * z * harmonic(7, 2));
    sum += 0.3153916 * (2.0 * z * z - x * x - y * y) * harmonic(6, 2);
    sum += 0.5462742 * (x * x - y * y) * harmonic(8, 2);
  }
  if (shownDegree >= 3) {
    sum += 0.5900436 * (y * (y * y - 3.0 * x * x) * harmonic(9, 3) + x * (3.0 * y * y - x * x) * harmonic(15, 3));
    sum += 0.4570458 * (x * x + y * y - 4.0 * z * z) * (y * harmonic(11, 3) + x * harmonic(13, 3));
    sum += 0.3731763 * z * (2.0 * z * z - 3.0 * x * x - 3.0 * y * y) * harmonic(12, 3);
    sum += 2.8906114 * x * y * z * harmonic(10, 3) + 1.4453057 * z * (x * x - y * y) * harmonic(14, 3);
  }
  return sum;
}

void main() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0); // outside the image unless the end is reached
  uvec4 first = texelFetch(gaussians, texel(2 * int(index)), 0);
  uvec4 second = texelFetch(gaussians, texel(2 * int(index) + 1), 0);
  vec3 fromCamera = uintBitsToFloat(first.xyz) - cameraCenter;
  vec3 inCamera = worldToCamera * fromCamera;
  float z = inCamera.z;
  float opacity = unpackUnorm2x16(second.x).y;
  if (z <= near || opacity < MIN_ALPHA) return;

  vec2 slope = inCamera.xy / z;
  vec2 center = focal * slope + vec2(skew * slope.y, 0.0) + principal;
  vec2 margin = MARGIN * imageSize / (2.0 * focal);
  slope = clamp(slope, -principal / focal - margin, (imageSize - principal) / focal + margin);
  vec3 toX = vec3(focal.x, skew, -focal.x * slope.x - skew * slope.y) / z;
  vec3 toY = vec3(0.0, focal.y, -focal.y * slope.y) / z;

  // the covariance in the image is the sum of the squares of the Gaussian's three axes there
  mat3 axes = worldToCamera * rotationMatrix(vec3(unpackSnorm2x16(second.y), unpackSnorm2x16(second.z).x));
  vec3 logScale = vec3(unpackUnorm2x16(first.w), unpackUnorm2x16(second.x).x);
  vec3 scale = sizeFactor * exp(mix(vec3(logScales.x), vec3(logScales.y), logScale));
  float xx = BLUR, xy = 0.0, yy = BLUR;
  for (int i = 0; i < 3; i++) {
    vec2 axis = scale[i] * vec2(dot(toX, axes[i]), dot(toY, axes[i]));
    xx += axis.x * axis.x;
    xy += axis.x * axis.y;
    yy += axis.y * axis.y;
  }

  // axes of the ellipse, as far as the opacity reaches MIN_ALPHA
  float middle = 0.5 * (xx + yy);
  float spread = length(vec2(0.5 * (xx - yy), xy));
  float angle = spread > 0.0 ? 0.5 * atan(2.0 * xy, xx - yy) : 0.0;
  vec2 major = sqrt(middle + spread) * vec2(cos(angle), sin(angle));
  vec2 minor = sqrt(max(middle - spread, BLUR)) * vec2(-sin(angle), cos(angle));
  float reach = sqrt(2.0 * log(opacity / MIN_ALPHA));
  vec2 halfSize = reach * sqrt(vec2(xx, yy));
  if (any(lessThan(center + halfSize, vec2(0.0))) || any(greaterThan(center - halfSize, imageSize))) return;

  vec3 mean = vec3(unpackHalf2x16(second.z).y, unpackHalf2x16(second.w));
  color = vec4(max(mean + directional(normalize(fromCamera)), 0.0), opacity);
  offset = reach * corner;
  vec2 pixel = center + offset.x * major + offset.y * minor;
  vec2 inImage = 2.0 * pixel / imageSize - 1.0;
  gl_Position = vec4(inImage.x, -inImage.y, 0.0, 1.0);
}`;

const FRAGMENT_SHADER = `#version 300 es
precision highp float;

const float MIN_ALPHA = 1.0 / 255.0;
const float MAX_ALPHA = 0.999;

in vec2 offset;
flat in vec4 color;
out vec4 blended;

void main() {
  float alpha = min(color.a * exp(-0.5 * dot(offset, offset)), MAX_ALPHA);
  if (alpha < MIN_ALPHA) discard;
  blended = vec4(color.rgb * alpha, alpha);
}`;

// Everything that orders Gaussians by depth. It runs in a worker, as text, and uses nothing from outside.
function depthSorter(means) {
  const total = means.length / 3;
  const depths = new Float32Array(total);
  const keys = new Uint32Array(depths.buffer); // positive floats are ordered as their bits are
  const seen = new Uint32Array(total), halfway = new Uint32Array(total);
  const low = new Uint32Array(65536), high = new Uint32Array(65536);

  function startingPlaces(counts) {
    let place = 0;
    for (let digit = 0; digit < 65536; digit++) {
      const count = counts[digit];
      counts[digit] = place;
      place += count;
    }
  }

  // Writes the indices of the Gaussians in front of the camera to `order`, far ones first, and returns their number.
  return function sort(center, forward, near, order) {
    const [x, y, z] = forward;
    low.fill(0);
    high.fill(0);
    let count = 0;
    for (let i = 0; i < total; i++) {
      const depth =
        (means[3 * i] - center[0]) * x + (means[3 * i + 1] - center[1]) * y + (means[3 * i + 2] - center[2]) * z;
      if (!(depth > near)) continue;
      depths[i] = depth;
      low[keys[i] & 65535]++;
      high[keys[i] >>> 16]++;
      seen[count++] = i;
    }
    startingPlaces(low);
    startingPlaces(high);
    for (let i = 0; i < count; i++) halfway[low[keys[seen[i]] & 65535]++] = seen[i];
    for (let i = 0; i < count; i++) order[count - 1 - high[keys[halfway[i]] >>> 16]++] = halfway[i];
    return count;
  };
}

// The worker's side: the means arrive first, then views one at a time.
function serveSorting(sorter) {
  let sort = null;
  onmessage = ({ data }) => {
    if (!sort) {
      sort = sorter(data);
      return;
    }
    const count = sort(data.center, data.forward, data.near, data.order);
    postMessage({ order: data.order, count }, [data.order.buffer]);
  };
}

// Sorts in a worker, one view at a time, or in this thread where the browser allows no worker.
class BackgroundSorter {
  constructor(means, onSorted) {
    this.order = new Uint32Array(means.length / 3);
    this.onSorted = onSorted;
    this.busy = null;
    try {
      const source = `(${serveSorting})(${depthSorter})`;
      this.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      this.worker.onmessage = ({ data }) => this.finish(data.order, data.count);
      this.worker.onerror = () => this.stayHere(means);
      this.worker.postMessage(means);
    } catch {
      this.stayHere(means);
    }
  }

  stayHere(means) {
    this.worker = null;
    this.sort = depthSorter(means);
    if (!this.busy) return;
    const view = this.busy;
    this.busy = null;
    this.order = new Uint32Array(means.length / 3); // the worker took the other one with it
    this.request(view);
  }

  request(view) {
    if (this.busy) return;
    this.busy = view;
    const task = { center: view.center, forward: [2, 5, 8].map((i) => view.rotation[i]), near: view.near };
    if (this.worker) this.worker.postMessage({ ...task, order: this.order }, [this.order.buffer]);
    else this.finish(this.order, this.sort(task.center, task.forward, task.near, this.order));
  }

  finish(order, count) {
    const view = this.busy;
    this.busy = null;
    this.order = order;
    this.onSorted(view, order.subarray(0, count));
  }
}

class GaussianRenderer {
  // gl: a WebGL2 context; records: Uint32Array of 8 words for each Gaussian; harmonics: Uint8Array; scene: the page's.
  constructor(gl, records, harmonics, scene) {
    this.gl = gl;
    this.total = records.length / 8;
    this.drawn = 0;
    this.program = linkedProgram(gl);
    gl.useProgram(this.program);
    this.uniforms = {};
    for (let i = 0; i < gl.getProgramParameter(this.program, gl.ACTIVE_UNIFORMS); i++) {
      const { name } = gl.getActiveUniform(this.program, i);
      this.uniforms[name] = gl.getUniformLocation(this.program, name);
    }
    uploadTexture(gl, 0, records, 4, gl.RGBA32UI, gl.RGBA_INTEGER, gl.UNSIGNED_INT);
    uploadTexture(gl, 1, harmonics, 3, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE);
    gl.uniform1i(this.uniforms.gaussians, 0);
    gl.uniform1i(this.uniforms.harmonics, 1);
    gl.uniform1i(this.uniforms.fileDegree, scene.degree);
    gl.uniform3fv(this.uniforms.harmonicLimits, [...scene.harmonicLimits, 0, 0, 0].slice(0, 3));
    gl.uniform2fv(this.uniforms.logScales, scene.logScales);
    this.setUpQuads();
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  setUpQuads() {
    const { gl, program } = this;
    const corner = gl.getAttribLocation(program, "corner"), index = gl.getAttribLocation(program, "index");
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, 4 * this.total, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(index);
    gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(index, 1);
  }

  setOrder(order) {
    this.gl.bufferSubData(this.gl.ARRAY_BUFFER, 0, order);
    this.drawn = order.length;
  }

  // view: rotation (camera to world, rows one after the other), center, focal, skew, principal and size in pixels of
  // the canvas, left and top of the image in it. look: background and surround (RGB in [0, 1]), size, degree.
  draw(view, look) {
    const { gl, uniforms } = this;
    const [width, height] = view.size;
    const bottom = gl.drawingBufferHeight - view.top - height;
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(...look.surround, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(view.left, bottom, width, height);
    gl.viewport(view.left, bottom, width, height);
    gl.clearColor(...look.background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    // the rows of camera-to-world are the columns of world-to-camera, in the order that WebGL wants
    gl.uniformMatrix3fv(uniforms.worldToCamera, false, view.rotation);
    gl.uniform3fv(uniforms.cameraCenter, view.center);
    gl.uniform2fv(uniforms.focal, view.focal);
    gl.uniform1f(uniforms.skew, view.skew);
    gl.uniform2fv(uniforms.principal, view.principal);
    gl.uniform2fv(uniforms.imageSize, view.size);
    gl.uniform1f(uniforms.near, view.near);
    gl.uniform1f(uniforms.sizeFactor, look.size);
    gl.uniform1i(uniforms.shownDegree, look.degree);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.drawn);
  }
}

function linkedProgram(gl) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

// Values, `channels` of them a texel, in rows of TEXTURE_WIDTH texels; the last row may stay incomplete.
function uploadTexture(gl, unit, values, channels, internalFormat, format, type) {
  const texels = values.length / channels;
  const rows = Math.max(Math.ceil(texels / TEXTURE_WIDTH), 1);
  const limit = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  if (Math.max(rows, TEXTURE_WIDTH) > limit) {
    throw new Error(`the scene needs a texture of ${TEXTURE_WIDTH} x ${rows}, this graphics unit allows ${limit}`);
  }
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texStorage2D(gl.TEXTURE_2D, 1, internalFormat, TEXTURE_WIDTH, rows);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  const full = Math.floor(texels / TEXTURE_WIDTH), rest = texels % TEXTURE_WIDTH;
  const split = full * TEXTURE_WIDTH * channels;
  if (full) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, full, format, type, values.subarray(0, split));
  if (rest) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, full, rest, 1, format, type, values.subarray(split));
}
