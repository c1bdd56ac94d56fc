// Draws the given cameras as pyramids with their photos, or their depth, on the base.

const FRUSTUM_VERTEX_SHADER = `#version 300 es
precision highp float;
${CAMERA}
uniform float length;                  // of the pyramids, in world units
const float CLOSE = 0.7;               // lengths; nearer pyramids would hide what their camera sees

in vec3 apex;
in vec3 offset;
in vec2 place;
out vec2 uv;

void main() {
  uv = place;
  gl_Position = distance(apex, cameraCenter) < CLOSE * length ? vec4(2.0, 2.0, 2.0, 1.0)
    : projected(apex + length * offset);
}`;

const FRUSTUM_FRAGMENT_SHADER = `#version 300 es
precision mediump float;
uniform sampler2D photos;
uniform bool textured;
in vec2 uv;
out vec4 shown;

void main() {
  shown = textured ? vec4(texture(photos, uv).rgb, 1.0) : vec4(0.18, 0.43, 0.71, 1.0);
}`;

// Corners of the image as (right, down) shares of its size, and -1 for the apex.
const APEX = [-1, -1], CORNERS = [[0, 0], [1, 0], [1, 1], [0, 1]];
const EDGES = CORNERS.flatMap((corner, i) => [APEX, corner, corner, CORNERS[(i + 1) % 4]]);
const BASE = [0, 1, 2, 0, 2, 3].map((i) => CORNERS[i]);

class FrustumLayer {
  // cameras: those of the scene; part: columns and rows of the mosaics of pictures, and the mosaics.
  constructor(gl, cameras, part) {
    this.gl = gl;
    this.solid = true;
    this.length = part.length;
    this.pictures = ["photos", "depths"].map((name) => (part[name] ? pictureTexture(gl, part[name], gl.RGBA8) : null));
    this.edges = this.shape(cameras, EDGES, part);
    this.base = this.pictures.some(Boolean) ? this.shape(cameras, BASE, part) : null;
  }

  shape(cameras, corners, { columns, rows }) {
    const apexes = [], offsets = [], places = [];
    cameras.forEach((camera, number) => {
      for (const [right, down] of corners) {
        apexes.push(...camera.center);
        offsets.push(...(right < 0 ? [0, 0, 0] : rayOf(camera, right * camera.size[0], down * camera.size[1])));
        places.push(((number % columns) + right) / columns, (Math.floor(number / columns) + down) / rows);
      }
    });
    const program = new Program(this.gl, FRUSTUM_VERTEX_SHADER, FRUSTUM_FRAGMENT_SHADER);
    program.attribute("apex", new Float32Array(apexes), 3);
    program.attribute("offset", new Float32Array(offsets), 3);
    program.attribute("place", new Float32Array(places), 2);
    return { program, count: apexes.length / 3 };
  }

  draw(view, look) {
    const { gl } = this, picture = this.pictures[look.depth ? 1 : 0] ?? this.pictures[0] ?? this.pictures[1];
    for (const [shape, mode, textured] of [[this.base, gl.TRIANGLES, 1], [this.edges, gl.LINES, 0]]) {
      if (!shape) continue;
      const uniforms = shape.program.setView(view);
      bindTextures(gl, picture ? [picture] : []);
      gl.uniform1f(uniforms.length, this.length);
      gl.uniform1i(uniforms.textured, textured);
      gl.drawArrays(mode, 0, shape.count);
    }
  }
}

// The point at depth 1 that a camera sees at a pixel, from its centre, in world axes.
function rayOf(camera, x, y) {
  const down = (y - camera.principal[1]) / camera.focal[1];
  const right = (x - camera.principal[0] - camera.skew * down) / camera.focal[0];
  return [0, 3, 6].map((row) => camera.rotation[row] * right + camera.rotation[row + 1] * down + camera.rotation[row + 2]);
}
