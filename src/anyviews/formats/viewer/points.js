// Draws coloured points as discs that are as large in the picture as they are near.

const POINT_VERTEX_SHADER = `#version 300 es
precision highp float;
${CAMERA}
uniform float pointSize;               // diameter in world units
const float SMALLEST = 1.5, LARGEST = 48.0; // diameters in pixels

in vec3 position;
in vec3 rgb;
out vec3 color;

void main() {
  gl_Position = projected(position);
  gl_PointSize = clamp(pointSize * focal.x / max(gl_Position.w, 1e-9), SMALLEST, LARGEST);
  color = rgb;
}`;

const POINT_FRAGMENT_SHADER = `#version 300 es
precision mediump float;
in vec3 color;
out vec4 shown;

void main() {
  vec2 offset = 2.0 * gl_PointCoord - 1.0;
  if (dot(offset, offset) > 1.0) discard;
  shown = vec4(color, 1.0);
}`;

class PointLayer {
  constructor(gl, part) {
    this.gl = gl;
    this.solid = true;
    this.noun = "points";
    this.size = part.size;
    this.positions = new Float32Array(part.positions.buffer);
    this.count = this.positions.length / 3;
    this.program = new Program(gl, POINT_VERTEX_SHADER, POINT_FRAGMENT_SHADER);
    this.program.attribute("position", this.positions, 3);
    this.program.attribute("rgb", part.colors, 3, { normalized: true });
  }

  ready() {
    return true;
  }

  // The surest points come first, so that a share of them is a prefix.
  draw(view, look) {
    const uniforms = this.program.setView(view);
    this.gl.uniform1f(uniforms.pointSize, look.size * this.size);
    this.gl.drawArrays(this.gl.POINTS, 0, Math.round(look.surest * this.count));
  }
}
