// Draws 3D Gaussians with WebGL2 (Kerbl et al., SIGGRAPH 2023): quads, one for each, blended from back to front.

class GaussianLayer {
  // part: of the page's scene, its blocks read; onSorted is called when an order has arrived.
  constructor(gl, part, onSorted) {
    this.gl = gl;
    this.solid = false;
    this.records = new Uint32Array(part.records.buffer);
    this.count = this.records.length / 8;
    this.noun = "Gaussians";
    this.drawn = 0;
    this.sorted = -1; // revision of the view that the order belongs to
    this.onSorted = onSorted;
    const numbers = new Float32Array(this.records.buffer);
    this.positions = new Float32Array(3 * this.count);
    for (let i = 0; i < this.positions.length; i++) this.positions[i] = numbers[8 * Math.floor(i / 3) + (i % 3)];
    this.program = new Program(gl, GAUSSIAN_VERTEX_SHADER, GAUSSIAN_FRAGMENT_SHADER);
    this.textures = [
      numberTexture(gl, this.records, 4, gl.RGBA32UI, gl.RGBA_INTEGER, gl.UNSIGNED_INT),
      numberTexture(gl, part.harmonics, 3, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE),
    ];
    const uniforms = this.program.use();
    gl.uniform1i(uniforms.gaussians, 0);
    gl.uniform1i(uniforms.harmonics, 1);
    gl.uniform1i(uniforms.fileDegree, part.degree);
    gl.uniform3fv(uniforms.harmonicLimits, [...part.harmonicLimits, 0, 0, 0].slice(0, 3));
    gl.uniform2fv(uniforms.logScales, part.logScales);
    this.degree = part.degree;
    this.program.attribute("corner", new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), 2);
    const order = new Uint32Array(this.count);
    this.order = this.program.attribute("index", order, 1, { divisor: 1, integer: true, usage: gl.DYNAMIC_DRAW });
  }

  // Whether the order is that of this view; if not, it is asked for.
  ready(view) {
    if (this.sorted === view.revision) return true;
    this.sorter ??= new BackgroundSorter(this.positions, ({ revision }, order) => {
      this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.order);
      this.gl.bufferSubData(this.gl.ARRAY_BUFFER, 0, order);
      this.drawn = order.length;
      this.sorted = revision;
      this.onSorted();
    });
    this.sorter.request(view);
    return this.sorted === view.revision;
  }

  draw(view, look) {
    const { gl } = this, uniforms = this.program.setView(view);
    bindTextures(gl, this.textures);
    gl.uniform1f(uniforms.sizeFactor, look.size);
    gl.uniform1i(uniforms.shownDegree, look.harmonics ? this.degree : 0);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.drawn);
  }
}
