// What all layers draw with: the camera in the shaders, programs, textures, and the picture before it is shown.

// Textures of plain numbers are this wide; a power of two, so that a shader finds a texel by shifting and masking.
const TEXTURE_WIDTH = 4096;

const MOST_TEXTURES = 3; // of a layer
const SAMPLES = 4; // of a pixel, where there are edges of triangles and lines

// The view, for vertex shaders. Depth in the picture is 1 - 2 nearPlane / z for all layers.
const CAMERA = `
uniform mat3 worldToCamera;
uniform vec3 cameraCenter;
uniform vec2 focal;
uniform float skew;
uniform vec2 principal;
uniform vec2 imageSize;
uniform vec2 imageCorner;              // lower left, in the framebuffer
uniform float near;                    // Gaussians that are not farther are left out
uniform float nearPlane;

vec4 projected(vec3 world) {
  vec3 p = worldToCamera * (world - cameraCenter);
  vec2 pixels = vec2(focal.x * p.x + skew * p.y, focal.y * p.y) + principal * p.z;
  vec2 image = 2.0 * pixels / imageSize - p.z;
  return vec4(image.x, -image.y, p.z - 2.0 * nearPlane, p.z);
}
`;

const SRGB = `
vec3 srgbFromLinear(vec3 c) {
  c = clamp(c, 0.0, 1.0);
  return mix(1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, 12.92 * c, lessThanEqual(c, vec3(0.0031308)));
}
vec3 linearFromSrgb(vec3 c) {
  return mix(pow((c + 0.055) / 1.055, vec3(2.4)), c / 12.92, lessThanEqual(c, vec3(0.04045)));
}
`;

// A program with its uniforms by name, and what it reads from buffers in a vertex array of its own.
class Program {
  constructor(gl, vertexShader, fragmentShader) {
    this.gl = gl;
    this.program = linkedProgram(gl, vertexShader, fragmentShader);
    this.uniforms = {};
    for (let i = 0; i < gl.getProgramParameter(this.program, gl.ACTIVE_UNIFORMS); i++) {
      const { name } = gl.getActiveUniform(this.program, i);
      this.uniforms[name] = gl.getUniformLocation(this.program, name);
    }
    this.array = gl.createVertexArray();
  }

  use() {
    this.gl.useProgram(this.program);
    this.gl.bindVertexArray(this.array);
    return this.uniforms;
  }

  // A buffer of `size` values a vertex (or an instance, where `divisor` is 1); integers that are not fractions of
  // their range are given as such.
  attribute(name, values, size, { divisor = 0, normalized = false, integer = false, usage = null } = {}) {
    const { gl } = this, place = gl.getAttribLocation(this.program, name), buffer = gl.createBuffer();
    const types = { Float32Array: gl.FLOAT, Uint8Array: gl.UNSIGNED_BYTE, Int16Array: gl.SHORT,
      Uint32Array: gl.UNSIGNED_INT };
    const type = types[values.constructor.name];
    this.use();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, usage ?? gl.STATIC_DRAW);
    if (place < 0) return buffer;
    gl.enableVertexAttribArray(place);
    if (integer) gl.vertexAttribIPointer(place, size, type, 0, 0);
    else gl.vertexAttribPointer(place, size, type, normalized, 0, 0);
    gl.vertexAttribDivisor(place, divisor);
    return buffer;
  }

  // view: rotation (camera to world, rows one after the other), center, focal, skew, principal and size in pixels of
  // the canvas, left and bottom of the image in it, near, nearPlane.
  setView(view) {
    const { gl } = this, uniforms = this.use();
    // the rows of camera-to-world are the columns of world-to-camera, in the order that WebGL wants
    gl.uniformMatrix3fv(uniforms.worldToCamera, false, view.rotation);
    gl.uniform3fv(uniforms.cameraCenter, view.center);
    gl.uniform2fv(uniforms.focal, view.focal);
    gl.uniform1f(uniforms.skew, view.skew);
    gl.uniform2fv(uniforms.principal, view.principal);
    gl.uniform2fv(uniforms.imageSize, view.size);
    gl.uniform2f(uniforms.imageCorner, view.left, view.bottom);
    gl.uniform1f(uniforms.near, view.near);
    gl.uniform1f(uniforms.nearPlane, view.nearPlane);
    return uniforms;
  }
}

function linkedProgram(gl, vertexShader, fragmentShader) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertexShader], [gl.FRAGMENT_SHADER, fragmentShader]]) {
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
function numberTexture(gl, values, channels, internalFormat, format, type) {
  const texels = values.length / channels;
  const rows = Math.max(Math.ceil(texels / TEXTURE_WIDTH), 1);
  const limit = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  if (Math.max(rows, TEXTURE_WIDTH) > limit) {
    throw new Error(`the scene needs a texture of ${TEXTURE_WIDTH} x ${rows}, this graphics unit allows ${limit}`);
  }
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texStorage2D(gl.TEXTURE_2D, 1, internalFormat, TEXTURE_WIDTH, rows);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  const full = Math.floor(texels / TEXTURE_WIDTH), rest = texels % TEXTURE_WIDTH;
  const split = full * TEXTURE_WIDTH * channels;
  if (full) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, full, format, type, values.subarray(0, split));
  if (rest) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, full, rest, 1, format, type, values.subarray(split));
  return texture;
}

// A picture with smaller copies of itself, repeated outside; `internalFormat` says whether it is sRGB.
function pictureTexture(gl, picture, internalFormat) {
  const limit = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  if (Math.max(picture.width, picture.height) > limit) {
    throw new Error(`a texture has ${picture.width} x ${picture.height} pixels, this graphics unit allows ${limit}`);
  }
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.texImage2D(gl.TEXTURE_2D, 0, internalFormat, gl.RGBA, gl.UNSIGNED_BYTE, picture);
  gl.generateMipmap(gl.TEXTURE_2D);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  return texture;
}

// A layer's textures in the first units, and nothing in those that another may have used for another kind of numbers.
function bindTextures(gl, textures) {
  for (let unit = 0; unit < MOST_TEXTURES; unit++) {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, textures[unit] ?? null);
  }
}

// The picture while it is drawn: many faint layers would lose their sum to the canvas's 8 bits, and colours above 1 be
// cut off before they blend.
class Picture {
  constructor(gl, smooth) {
    this.gl = gl;
    this.format = gl.getExtension("EXT_color_buffer_float") ? gl.RGBA16F : gl.RGB10_A2;
    const most = gl.getInternalformatParameter(gl.RENDERBUFFER, this.format, gl.SAMPLES);
    this.samples = smooth ? Math.min(SAMPLES, Math.max(0, ...most)) : 0;
    this.size = [0, 0];
    this.drawn = { framebuffer: gl.createFramebuffer(), color: gl.createRenderbuffer(), depth: gl.createRenderbuffer() };
    this.resolved = this.samples ? { framebuffer: gl.createFramebuffer(), color: gl.createRenderbuffer() } : this.drawn;
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthFunc(gl.LEQUAL);
    gl.enable(gl.DEPTH_TEST);
  }

  // Clears the picture; the image of `view` in the look's background, the rest in its surround.
  begin(view, look) {
    const { gl } = this, [width, height] = view.size;
    this.resize(gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.drawn.framebuffer);
    gl.disable(gl.SCISSOR_TEST);
    gl.depthMask(true);
    gl.clearColor(...look.surround, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(view.left, view.bottom, width, height);
    gl.viewport(view.left, view.bottom, width, height);
    gl.clearColor(...look.background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  // Solid things hide what is behind them; others blend, from back to front.
  solid(isSolid) {
    this.gl.depthMask(isSolid);
    if (isSolid) this.gl.disable(this.gl.BLEND);
    else this.gl.enable(this.gl.BLEND);
  }

  end() {
    const { gl } = this;
    gl.disable(gl.SCISSOR_TEST);
    if (this.samples) this.copy(this.drawn.framebuffer, this.resolved.framebuffer);
    this.copy(this.resolved.framebuffer, null);
  }

  copy(from, to) {
    const { gl } = this, [width, height] = this.size;
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, from);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, to);
    gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
  }

  resize(width, height) {
    const { gl, size } = this;
    if (size[0] === width && size[1] === height) return;
    this.size = [width, height];
    for (const { framebuffer, color, depth } of new Set([this.drawn, this.resolved])) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
      const attach = (buffer, format, place) => {
        gl.bindRenderbuffer(gl.RENDERBUFFER, buffer);
        const samples = framebuffer === this.drawn.framebuffer ? this.samples : 0;
        if (samples) gl.renderbufferStorageMultisample(gl.RENDERBUFFER, samples, format, width, height);
        else gl.renderbufferStorage(gl.RENDERBUFFER, format, width, height);
        gl.framebufferRenderbuffer(gl.FRAMEBUFFER, place, gl.RENDERBUFFER, buffer);
      };
      attach(color, this.format, gl.COLOR_ATTACHMENT0);
      if (depth) attach(depth, gl.DEPTH_COMPONENT24, gl.DEPTH_ATTACHMENT);
    }
  }
}
