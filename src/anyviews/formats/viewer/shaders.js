// Every Gaussian is a quad that covers the ellipse to which its covariance projects (Zwicker et al., EWA splatting).
// Formulas and constants are those of anyviews/rendering/gaussians, so that both give the same pictures; only its end
// of a pixel that is nearly covered does not exist here, where blending goes from back to front.

const GAUSSIAN_VERTEX_SHADER = `#version 300 es
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

${CAMERA}
in uint index;
in vec2 corner;                        // of the quad, -1 or 1
flat out vec2 middle;                  // of the ellipse in the framebuffer, whose y points up
flat out vec4 axes;                    // pixels to standard deviations along the ellipse's long and its short axis
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
  mat3 inCameraAxes = worldToCamera * rotationMatrix(vec3(unpackSnorm2x16(second.y), unpackSnorm2x16(second.z).x));
  vec3 logScale = vec3(unpackUnorm2x16(first.w), unpackUnorm2x16(second.x).x);
  vec3 scale = sizeFactor * exp(mix(vec3(logScales.x), vec3(logScales.y), logScale));
  float xx = BLUR, xy = 0.0, yy = BLUR;
  for (int i = 0; i < 3; i++) {
    vec2 axis = scale[i] * vec2(dot(toX, inCameraAxes[i]), dot(toY, inCameraAxes[i]));
    xx += axis.x * axis.x;
    xy += axis.x * axis.y;
    yy += axis.y * axis.y;
  }

  // axes of the ellipse, as far as the opacity reaches MIN_ALPHA
  float mean = 0.5 * (xx + yy), difference = 0.5 * (xx - yy);
  float spread = length(vec2(difference, xy));
  // the longer of two equal expressions, which does not cancel
  vec2 direction = xx < yy ? vec2(xy, spread - difference) : vec2(spread + difference, xy);
  direction = spread > 0.0 ? normalize(direction) : vec2(1.0, 0.0);
  vec2 across = vec2(-direction.y, direction.x);
  float longer = sqrt(mean + spread), shorter = sqrt(max(mean - spread, BLUR));
  float reach = sqrt(2.0 * max(log(opacity / MIN_ALPHA), 0.0));
  vec2 halfSize = reach * sqrt(vec2(xx, yy));
  if (any(lessThan(center + halfSize, vec2(0.0))) || any(greaterThan(center - halfSize, imageSize))) return;

  vec3 meanColor = vec3(unpackHalf2x16(second.z).y, unpackHalf2x16(second.w));
  color = vec4(max(meanColor + directional(normalize(fromCamera)), 0.0), opacity);
  middle = imageCorner + vec2(center.x, imageSize.y - center.y);
  axes = vec4(direction.x, -direction.y, across.x, -across.y) / vec4(longer, longer, shorter, shorter);
  vec2 pixel = center + reach * (corner.x * longer * direction + corner.y * shorter * across);
  vec2 inImage = 2.0 * pixel / imageSize - 1.0;
  gl_Position = vec4(inImage.x, -inImage.y, max(1.0 - 2.0 * nearPlane / z, -1.0), 1.0);
}`;

const GAUSSIAN_FRAGMENT_SHADER = `#version 300 es
precision highp float;

const float MIN_ALPHA = 1.0 / 255.0;
const float MAX_ALPHA = 0.999;

flat in vec2 middle;
flat in vec4 axes;
flat in vec4 color;
out vec4 blended;

void main() {
  // not interpolated from the corners, which the hardware rounds to fractions of a pixel
  vec2 pixels = gl_FragCoord.xy - middle;
  vec2 offset = vec2(dot(pixels, axes.xy), dot(pixels, axes.zw));
  float alpha = min(color.a * exp(-0.5 * dot(offset, offset)), MAX_ALPHA);
  if (alpha < MIN_ALPHA) discard;
  blended = vec4(color.rgb * alpha, alpha);
}`;
