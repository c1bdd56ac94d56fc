// Draws a triangle mesh: its colours as they are, or as the metallic-roughness material of glTF 2.0 under a fixed light,
// that of a bright sky over a darker ground with a large lamp to one side.

const MESH_VERTEX_SHADER = `#version 300 es
precision highp float;
${CAMERA}${SRGB}
in vec3 position;
in vec3 normal;
in vec3 rgb;
in vec2 place;
out vec3 world;
out vec3 smoothNormal;
out vec3 color;
out vec2 uv;

void main() {
  world = position;
  smoothNormal = normal;
  color = linearFromSrgb(rgb);
  uv = place;
  gl_Position = projected(position);
}`;

const MESH_FRAGMENT_SHADER = `#version 300 es
precision highp float;
${SRGB}
uniform vec3 eye;
uniform vec3 up;
uniform vec3 lamp;                     // where it is, seen from the scene
uniform bool lit, hasNormals, hasTextures, hasNormalMap;
uniform sampler2D baseColors, surfaces, normalMap; // surfaces: green is roughness, blue is metallic, as in glTF

in vec3 world;
in vec3 smoothNormal;
in vec3 color;
in vec2 uv;
out vec4 shown;

const vec3 SKY = vec3(0.78, 0.80, 0.84), GROUND = vec3(0.26, 0.24, 0.22), LAMP = vec3(0.62, 0.58, 0.52);

vec3 sky(vec3 direction, float sharpness) {
  float height = clamp(0.5 + 0.5 * sharpness * dot(direction, up), 0.0, 1.0);
  return mix(GROUND, SKY, height * height * (3.0 - 2.0 * height));
}

vec3 irradiance(vec3 n) {              // over pi
  return mix(GROUND, SKY, 0.5 + 0.5 * dot(n, up)) + LAMP * max(dot(n, lamp), 0.0);
}

vec3 reflected(vec3 direction, float roughness) {
  float lobe = 2.0 / max(pow(roughness, 4.0), 2e-3);
  float highlight = 0.5 * sqrt(lobe) * exp(lobe * (dot(direction, lamp) - 1.0));
  return sky(direction, mix(4.0, 1.0, roughness)) + LAMP * highlight;
}

// Split-sum scale and bias (B. Karis, "Physically based shading on mobile", 2014).
vec2 reflectance(float roughness, float cosine) {
  vec4 r = roughness * vec4(-1.0, -0.0275, -0.572, 0.022) + vec4(1.0, 0.0425, 1.04, -0.04);
  float a = min(r.x * r.x, exp2(-9.28 * cosine)) * r.x + r.y;
  return vec2(-1.04, 1.04) * a + r.zw;
}

// The normal map's vector, x along u and y against v, by what positions and coordinates do from pixel to pixel.
vec3 mapped(vec3 n) {
  vec3 along = dFdx(world), across = dFdy(world);
  vec2 uvAlong = dFdx(uv), uvAcross = dFdy(uv);
  vec3 a = cross(across, n), b = cross(n, along);
  float side = sign(dot(along, a));
  vec3 toU = side * (a * uvAlong.x + b * uvAcross.x), toV = side * (a * uvAlong.y + b * uvAcross.y);
  float scale = inversesqrt(max(max(dot(toU, toU), dot(toV, toV)), 1e-30));
  vec3 t = 2.0 * texture(normalMap, uv).xyz - 1.0;
  return normalize(scale * (toU * t.x - toV * t.y) + n * t.z);
}

void main() {
  vec3 base = color;
  float roughness = 1.0, metallic = 0.0;
  if (hasTextures) {
    base *= texture(baseColors, uv).rgb;
    vec3 surface = texture(surfaces, uv).rgb;
    roughness = surface.g;
    metallic = surface.b;
  }
  vec3 flatNormal = normalize(cross(dFdx(world), dFdy(world)));
  vec3 toEye = normalize(eye - world);
  vec3 n = hasNormals ? normalize(smoothNormal) : flatNormal;
  if (hasNormalMap) n = mapped(n);
  if (dot(n, toEye) < 0.0 && (!hasNormals || dot(normalize(smoothNormal), toEye) < 0.0)) n = -n;
  float cosine = clamp(dot(n, toEye), 0.02, 1.0);
  vec3 specular = mix(vec3(0.04), base, metallic);
  vec2 split = reflectance(max(roughness, 0.05), cosine);
  vec3 mirrored = specular * split.x + split.y;
  vec3 light = (1.0 - metallic) * (1.0 - mirrored) * base * irradiance(n)
    + mirrored * reflected(reflect(-toEye, n), max(roughness, 0.05));
  shown = vec4(srgbFromLinear(lit ? light : base), 1.0);
}`;

class MeshLayer {
  // part: its blocks read, its pictures decoded.
  constructor(gl, part) {
    this.gl = gl;
    this.solid = true;
    this.noun = "triangles";
    this.part = part;
    this.positions = new Float32Array(part.positions.buffer);
    this.indices = new Uint32Array(part.faces.buffer);
    this.count = this.indices.length / 3;
    this.program = new Program(gl, MESH_VERTEX_SHADER, MESH_FRAGMENT_SHADER);
    const vertices = this.positions.length / 3, missing = (size) => new Float32Array(size * vertices);
    this.program.attribute("position", this.positions, 3);
    this.program.attribute("normal", part.normals ? new Float32Array(part.normals.buffer) : missing(3), 3);
    this.program.attribute("rgb", part.colors ?? new Uint8Array(3 * vertices).fill(part.baseColors ? 255 : 205), 3,
      { normalized: true });
    this.program.attribute("place", part.places ? new Float32Array(part.places.buffer) : missing(2), 2);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, this.indices, gl.STATIC_DRAW);
    this.textures = [];
    if (part.baseColors) {
      this.textures.push(pictureTexture(gl, part.baseColors, gl.SRGB8_ALPHA8), pictureTexture(gl, part.surfaces, gl.RGBA8));
      if (part.normalMap) this.textures.push(pictureTexture(gl, part.normalMap, gl.RGBA8));
    }
    const uniforms = this.program.use();
    gl.uniform1i(uniforms.hasNormals, Boolean(part.normals));
    gl.uniform1i(uniforms.hasTextures, this.textures.length > 0);
    gl.uniform1i(uniforms.hasNormalMap, this.textures.length > 2);
    ["baseColors", "surfaces", "normalMap"].forEach((name, unit) => gl.uniform1i(uniforms[name], unit));
  }

  ready() {
    return true;
  }

  draw(view, look) {
    const { gl } = this, uniforms = this.program.setView(view);
    bindTextures(gl, this.textures);
    gl.uniform3fv(uniforms.eye, view.center);
    gl.uniform3fv(uniforms.up, look.upDirection);
    gl.uniform3fv(uniforms.lamp, look.lamp);
    gl.uniform1i(uniforms.lit, look.lit);
    gl.drawElements(gl.TRIANGLES, this.indices.length, gl.UNSIGNED_INT, 0);
  }
}
