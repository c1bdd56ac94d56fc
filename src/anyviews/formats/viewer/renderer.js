// Draws 3D Gaussians with WebGL2 (Kerbl et al., SIGGRAPH 2023): quads, one for each, blended from back to front.

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
    // many faint layers would lose their sum to the canvas's 8 bits, and colours above 1 be cut off before they blend
    this.format = gl.getExtension("EXT_color_buffer_float") ? gl.RGBA16F : gl.RGB10_A2;
    this.target = gl.createRenderbuffer();
    this.targetSize = [0, 0];
    gl.bindRenderbuffer(gl.RENDERBUFFER, this.target);
    this.framebuffer = gl.createFramebuffer();
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
    this.resizeTarget(gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
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
    gl.uniform2f(uniforms.imageCorner, view.left, bottom);
    gl.uniform1f(uniforms.near, view.near);
    gl.uniform1f(uniforms.sizeFactor, look.size);
    gl.uniform1i(uniforms.shownDegree, look.degree);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.drawn);
    this.copyToCanvas();
  }

  resizeTarget(width, height) {
    const { gl, targetSize } = this;
    if (targetSize[0] === width && targetSize[1] === height) return;
    this.targetSize = [width, height];
    gl.renderbufferStorage(gl.RENDERBUFFER, this.format, width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
    gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.RENDERBUFFER, this.target);
  }

  copyToCanvas() {
    const { gl } = this, [width, height] = this.targetSize;
    gl.disable(gl.SCISSOR_TEST);
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, this.framebuffer);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
    gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
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
