"""From Gaussians to what blending needs, and the way back (Zwicker et al., EWA splatting, 2001).

All arithmetic is float64: it is a small part of the time, and covariances of thin Gaussians and the sums over all
Gaussians in the gradients of cameras need it.
"""

import math

import numpy as np

from ....geometry.spherical_harmonics import CONSTANT_HARMONIC, CUBIC, LINEAR, QUADRATIC, QUADRATIC_AXIS
from .compiler import Kernel, helper


SIDE = 16
# Falloffs are computed as the sixteenth power of exp(-(u^2 + v^2)), with u^2 + v^2 = distance^2 / 32.
SCALE = 1 / math.sqrt(32)
# What rounding may add to the reach of a Gaussian, as a share of the exponent.
SLACK = 1e-3
# Below this share of its area the opacity of an antialiased Gaussian is not lowered further.
LEAST_RATIO = 1e-12
# Bound of a falloff's steepness per pixel, whose square is still a float32.
STEEPEST = 1e12
# Values of a camera's gradient: rotation (9), centre (3), focal x, skew, centre x, focal y, centre y.
CAMERA_VALUES = 17


@helper
def camera_point(means, i, rotation, center):
    """A mean relative to the camera's centre, in world axes and in the camera's."""
    x, y, z = means[i, 0] - center[0], means[i, 1] - center[1], means[i, 2] - center[2]
    return (
        (x, y, z),
        (
            x * rotation[0, 0] + y * rotation[1, 0] + z * rotation[2, 0],
            x * rotation[0, 1] + y * rotation[1, 1] + z * rotation[2, 1],
            x * rotation[0, 2] + y * rotation[1, 2] + z * rotation[2, 2],
        ),
    )


@helper
def clamped_slope(slope, focal, center, size, margin):
    """The slope at which the projection is linearised: not far outside the image."""
    beyond = margin * size / (2 * focal)
    return min(max(slope, -center / focal - beyond), (size - center) / focal + beyond)


@helper
def jacobian(point, intrinsics, width, height, margin):
    """Derivatives of pixels by camera coordinates: (xx, xy, xz, yy, yz), and the slopes they are taken at."""
    focal_x, skew, focal_y = intrinsics[0, 0], intrinsics[0, 1], intrinsics[1, 1]
    near = 1 / point[2]
    x = clamped_slope(point[0] * near, focal_x, intrinsics[0, 2], width, margin)
    y = clamped_slope(point[1] * near, focal_y, intrinsics[1, 2], height, margin)
    values = (focal_x * near, skew * near, -(focal_x * x + skew * y) * near, focal_y * near, -focal_y * y * near)
    return values, (x, y)


@helper
def rotation_matrix(rotations, i, matrix):
    """Write the rotation of a quaternion (w, x, y, z) of any length; give its length."""
    w, x, y, z = (
        np.float64(rotations[i, 0]),
        np.float64(rotations[i, 1]),
        np.float64(rotations[i, 2]),
        np.float64(rotations[i, 3]),
    )
    length = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / length, x / length, y / length, z / length
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    return length


@helper
def image_axes(slopes, rotation, axes, to_image, projected):
    """Write camera_to_world's share of the projection [2, 3], and the Gaussian's unit axes in pixels [2, 3]."""
    xx, xy, xz, yy, yz = slopes
    for j in range(3):
        to_image[0, j] = xx * rotation[j, 0] + xy * rotation[j, 1] + xz * rotation[j, 2]
        to_image[1, j] = yy * rotation[j, 1] + yz * rotation[j, 2]
    for k in range(2):
        for j in range(3):
            projected[k, j] = to_image[k, 0] * axes[0, j] + to_image[k, 1] * axes[1, j] + to_image[k, 2] * axes[2, j]


@helper
def covariance(projected, scales, i, blur):
    """Covariance (xx, xy, yy) in pixels with the blur, and the determinants without and with it."""
    x0, x1, x2 = projected[0, 0] * scales[i, 0], projected[0, 1] * scales[i, 1], projected[0, 2] * scales[i, 2]
    y0, y1, y2 = projected[1, 0] * scales[i, 0], projected[1, 1] * scales[i, 1], projected[1, 2] * scales[i, 2]
    xx, xy, yy = x0 * x0 + x1 * x1 + x2 * x2, x0 * y0 + x1 * y1 + x2 * y2, y0 * y0 + y1 * y1 + y2 * y2
    # as sums of squares, since xx * yy - xy * xy is lost to cancellation where the Gaussian is thin
    a, b, c = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
    sharp = a * a + b * b + c * c
    return (xx + blur, xy, yy + blur), sharp, sharp + blur * (xx + yy) + blur * blur


@helper
def harmonics_at(x, y, z, count, basis):
    """Write the first `count` spherical harmonics in a unit direction."""
    basis[0] = CONSTANT_HARMONIC
    if count > 1:
        basis[1], basis[2], basis[3] = -LINEAR * y, LINEAR * z, -LINEAR * x
    if count > 4:
        basis[4], basis[5], basis[7] = QUADRATIC * x * y, -QUADRATIC * y * z, -QUADRATIC * x * z
        basis[6] = QUADRATIC_AXIS * (2 * z * z - x * x - y * y)
        basis[8] = QUADRATIC / 2 * (x * x - y * y)
    if count > 9:
        basis[9] = -CUBIC[0] * y * (3 * x * x - y * y)
        basis[10] = CUBIC[1] * x * y * z
        basis[11] = -CUBIC[2] * y * (4 * z * z - x * x - y * y)
        basis[12] = CUBIC[3] * z * (2 * z * z - 3 * x * x - 3 * y * y)
        basis[13] = -CUBIC[2] * x * (4 * z * z - x * x - y * y)
        basis[14] = CUBIC[1] / 2 * z * (x * x - y * y)
        basis[15] = -CUBIC[0] * x * (x * x - 3 * y * y)


@helper
def harmonics_slope(x, y, z, count, weights):
    """Derivatives by x, y and z of the sum of the first `count` harmonics with weights."""
    dx = dy = dz = 0.0
    if count > 1:
        dx, dy, dz = -LINEAR * weights[3], -LINEAR * weights[1], LINEAR * weights[2]
    if count > 4:
        a, b, c = QUADRATIC * weights[4], QUADRATIC * weights[5], QUADRATIC * weights[7]
        d, e = 2 * QUADRATIC_AXIS * weights[6], QUADRATIC * weights[8]
        dx += a * y - c * z - d * x + e * x
        dy += a * x - b * z - d * y - e * y
        dz += -b * y - c * x + 2 * d * z
    if count > 9:
        a, b, c = CUBIC[0] * weights[9], CUBIC[1] * weights[10], CUBIC[2] * weights[11]
        d, e, f, g = CUBIC[3] * weights[12], CUBIC[2] * weights[13], CUBIC[1] * weights[14], CUBIC[0] * weights[15]
        xx, yy, zz = x * x, y * y, z * z
        dx += -6 * a * x * y + b * y * z + 2 * c * x * y - 6 * d * x * z
        dx += e * (3 * xx + yy - 4 * zz) + f * x * z - 3 * g * (xx - yy)
        dy += -3 * a * (xx - yy) + b * x * z + c * (xx + 3 * yy - 4 * zz) - 6 * d * y * z
        dy += 2 * e * x * y - f * y * z + 6 * g * x * y
        dz += b * x * y - 8 * c * y * z + d * (6 * zz - 3 * xx - 3 * yy) - 8 * e * x * z + 0.5 * f * (xx - yy)
    return dx, dy, dz


@helper
def seen_color(features, i, basis, channel):
    """Sum of harmonics plus 0.5 in one channel, unclamped."""
    value = 0.5
    for k in range(features.shape[1]):
        value += basis[k] * features[i, k, channel]
    return value


@helper
def tile_box(mean, reach_x, reach_y, columns, rows):
    """Tiles with a pixel centre within the reach of a mean: first and last + 1 column, first and last + 1 row."""
    left, right = np.ceil(mean[0] - reach_x - 0.5), np.floor(mean[0] + reach_x - 0.5)
    top, bottom = np.ceil(mean[1] - reach_y - 0.5), np.floor(mean[1] + reach_y - 0.5)
    if left > right or top > bottom:
        return 0, 0, 0, 0
    return (
        int(max(0.0, min(np.floor(left / SIDE), columns))),
        int(max(0.0, min(np.floor(right / SIDE) + 1, columns))),
        int(max(0.0, min(np.floor(top / SIDE), rows))),
        int(max(0.0, min(np.floor(bottom / SIDE) + 1, rows))),
    )


@helper
def original_box(mean, covariances, determinant, columns, rows):
    """Tiles that the square of three largest standard deviations touches, as the original implementation counts."""
    middle = 0.5 * (covariances[0] + covariances[2])
    spread = math.sqrt(max(middle * middle - determinant, 0.1))
    radius = np.ceil(3 * math.sqrt(middle + spread))
    x, y = mean[0] - 0.5, mean[1] - 0.5
    return (
        int(max(0.0, min((x - radius) / SIDE, columns))),
        int(max(0.0, min((x + radius + SIDE - 1) / SIDE, columns))),
        int(max(0.0, min((y - radius) / SIDE, rows))),
        int(max(0.0, min((y + radius + SIDE - 1) / SIDE, rows))),
    )


@Kernel
def project(first, last, gaussians, camera, size, options, records, rectangles):
    """Project the Gaussians first .. last - 1.

    Args:
        first, last: Gaussians.
        gaussians: means [N, 3], rotations [N, 4], scales [N, 3], opacities [N], and features: harmonics [N, K, 3], or
            colours [N, 1, 3] where the options say so.
        camera: rotation to the world [3, 3], centre [3], intrinsics [3, 3].
        size: height and width in pixels.
        options: near, far, blur, least opacity, margin, antialiased, whether boxes are the original's, whether
            features are harmonics.
        records: `placed` and `shaded`, written, for `blend_tiles`.
        rectangles: [N, 4], written: first and last + 1 tile column, first and last + 1 tile row; empty if unseen.
    """
    means, rotations, scales, opacities, features = gaussians
    rotation, center, intrinsics = camera
    placed, shaded = records
    height, width = size
    near, far, blur, least, margin, antialiased, original, harmonic = options
    columns, rows = (width + SIDE - 1) // SIDE, (height + SIDE - 1) // SIDE
    axes, to_image, projected, basis = np.empty((3, 3)), np.empty((2, 3)), np.empty((2, 3)), np.empty(16)
    for i in range(first, last):
        rectangles[i, :] = 0
        offset, point = camera_point(means, i, rotation, center)
        if not near < point[2] <= far:
            continue
        slopes, _ = jacobian(point, intrinsics, width, height, margin)
        rotation_matrix(rotations, i, axes)
        image_axes(slopes, rotation, axes, to_image, projected)
        (xx, xy, yy), sharp, determinant = covariance(projected, scales, i, blur)
        if not determinant > 0:
            continue
        opacity = np.float64(opacities[i])
        if antialiased:
            opacity *= math.sqrt(max(sharp / determinant, LEAST_RATIO))
        if opacity < least * (1 - SLACK):
            continue
        x, y = point[0] / point[2], point[1] / point[2]
        mean = (
            intrinsics[0, 0] * x + intrinsics[0, 1] * y + intrinsics[0, 2],
            intrinsics[1, 1] * y + intrinsics[1, 2],
        )
        farthest = math.log(opacity / least) + 2 * SLACK
        reach_x, reach_y = math.sqrt(2 * farthest * xx), math.sqrt(2 * farthest * yy)
        left, right, top, bottom = tile_box(mean, reach_x, reach_y, columns, rows)
        if original:
            box = original_box(mean, (xx, xy, yy), determinant, columns, rows)
            left, right, top, bottom = max(left, box[0]), min(right, box[1]), max(top, box[2]), min(bottom, box[3])
        if left >= right or top >= bottom:
            continue
        rectangles[i, 0], rectangles[i, 1], rectangles[i, 2], rectangles[i, 3] = left, right, top, bottom
        placed[i, 0], placed[i, 1] = mean
        placed[i, 2] = SCALE * min(math.sqrt(yy / determinant), STEEPEST)
        placed[i, 3] = -SCALE * xy / math.sqrt(yy * determinant)
        shaded[i, 0] = SCALE * min(1 / math.sqrt(yy), STEEPEST)
        shaded[i, 1], shaded[i, 5] = opacity, point[2]
        shaded[i, 6] = reach_y
        if harmonic:
            distance = math.sqrt(offset[0] * offset[0] + offset[1] * offset[1] + offset[2] * offset[2])
            harmonics_at(offset[0] / distance, offset[1] / distance, offset[2] / distance, features.shape[1], basis)
            for channel in range(3):
                shaded[i, 2 + channel] = max(0.0, seen_color(features, i, basis, channel))
        else:
            for channel in range(3):
                shaded[i, 2 + channel] = features[i, 0, channel]


@helper
def by_mean_and_covariance(sums, i, covariances, determinant):
    """Derivatives by the projected mean (x, y) and covariance (xx, xy, yy) from what `blend_tiles_backward` left."""
    _, xy, yy = covariances
    p, q, r = math.sqrt(yy / determinant), -xy / math.sqrt(yy * determinant), 1 / yy
    eu, euu = sums[i, 1] / SCALE, sums[i, 2] / (SCALE * SCALE)
    ey, eyu, eyy = np.float64(sums[i, 3]), sums[i, 4] / SCALE, np.float64(sums[i, 5])
    by_mean = (p * eu, q * eu + r * ey)
    by_xy = 0.5 * p * (q * euu + r * eyu)
    by_yy = 0.5 * (q * q * euu + 2 * q * r * eyu + r * r * eyy)
    return by_mean, (0.5 * p * p * euu, by_xy, by_yy)


@helper
def by_ratio(e, covariances, sharp, determinant, blur):
    """What lowering the opacity by the root of sharp / determinant adds to the derivatives by the covariance."""
    xx, xy, yy = covariances
    ratio = sharp / determinant
    if ratio < LEAST_RATIO:
        return 0.0, 0.0, 0.0
    slope = 0.5 * e / ratio
    by_sharp, by_trace = slope * (1 - ratio) / determinant, -slope * ratio / determinant * blur
    return by_sharp * (yy - blur) + by_trace, -by_sharp * xy, by_sharp * (xx - blur) + by_trace


@helper
def add_scale_gradient(projected, scales, i, by_covariance, by_projected, of_scales):
    """From the covariance in pixels to the scales and, written, to the unit axes in pixels [2, 3]."""
    by_xx, by_xy, by_yy = by_covariance
    for j in range(3):
        scale = np.float64(scales[i, j])
        along_x = 2 * scale * (by_xx * projected[0, j] + by_xy * projected[1, j])
        along_y = 2 * scale * (by_xy * projected[0, j] + by_yy * projected[1, j])
        of_scales[i, j] += along_x * projected[0, j] + along_y * projected[1, j]
        by_projected[0, j], by_projected[1, j] = along_x * scale, along_y * scale


@helper
def add_rotation_gradient(rotations, i, length, to_image, by_projected, by, of_rotations):
    """From the unit axes in pixels [2, 3] to their matrix (`by`, written) and the quaternion of any length."""
    w, x, y, z = rotations[i, 0] / length, rotations[i, 1] / length, rotations[i, 2] / length, rotations[i, 3] / length
    for j in range(3):
        for k in range(3):
            by[j, k] = to_image[0, j] * by_projected[0, k] + to_image[1, j] * by_projected[1, k]
    zy, xz, yx = by[2, 1] - by[1, 2], by[0, 2] - by[2, 0], by[1, 0] - by[0, 1]
    xy, zx, yz = by[1, 0] + by[0, 1], by[0, 2] + by[2, 0], by[2, 1] + by[1, 2]
    by_w = 2 * (x * zy + y * xz + z * yx)
    by_x = 2 * (w * zy + y * xy + z * zx - 2 * x * (by[1, 1] + by[2, 2]))
    by_y = 2 * (w * xz + x * xy + z * yz - 2 * y * (by[0, 0] + by[2, 2]))
    by_z = 2 * (w * yx + x * zx + y * yz - 2 * z * (by[0, 0] + by[1, 1]))
    along = by_w * w + by_x * x + by_y * y + by_z * z
    of_rotations[i, 0] += (by_w - along * w) / length
    of_rotations[i, 1] += (by_x - along * x) / length
    of_rotations[i, 2] += (by_y - along * y) / length
    of_rotations[i, 3] += (by_z - along * z) / length


@helper
def add_jacobian_gradient(point, intrinsics, slopes, clamped, rotation, axes, by_projected, of_camera):
    """From the unit axes in pixels [2, 3] to the camera's rotation and intrinsics, and to the point it sees."""
    focal_x, skew, focal_y = intrinsics[0, 0], intrinsics[0, 1], intrinsics[1, 1]
    xx, xy, xz, yy, yz = slopes
    s_xx = s_xy = s_xz = s_yy = s_yz = 0.0
    for j in range(3):
        x = by_projected[0, 0] * axes[j, 0] + by_projected[0, 1] * axes[j, 1] + by_projected[0, 2] * axes[j, 2]
        y = by_projected[1, 0] * axes[j, 0] + by_projected[1, 1] * axes[j, 1] + by_projected[1, 2] * axes[j, 2]
        s_xx, s_xy, s_xz = s_xx + x * rotation[j, 0], s_xy + x * rotation[j, 1], s_xz + x * rotation[j, 2]
        s_yy, s_yz = s_yy + y * rotation[j, 1], s_yz + y * rotation[j, 2]
        of_camera[3 * j] += x * xx
        of_camera[3 * j + 1] += x * xy + y * yy
        of_camera[3 * j + 2] += x * xz + y * yz
    near = 1 / point[2]
    x, y = clamped
    of_camera[12] += (s_xx - s_xz * x) * near
    of_camera[13] += (s_xy - s_xz * y) * near
    of_camera[15] += (s_yy - s_yz * y) * near
    by_z = -near * (s_xx * xx + s_xy * xy + s_xz * xz + s_yy * yy + s_yz * yz)
    by_slope_x = -s_xz * focal_x * near
    by_slope_y = -(s_xz * skew + s_yz * focal_y) * near
    # where the slope is clamped, the border of the image moves it
    if x != point[0] * near:
        of_camera[12] -= by_slope_x * x / focal_x
        of_camera[14] -= by_slope_x / focal_x
        by_slope_x = 0.0
    if y != point[1] * near:
        of_camera[15] -= by_slope_y * y / focal_y
        of_camera[16] -= by_slope_y / focal_y
        by_slope_y = 0.0
    return by_slope_x, by_slope_y, by_z


@helper
def by_direction(offset, features, i, sums, basis, weights, of_features):
    """From the colour to the harmonics, added, and to the mean relative to the camera's centre."""
    count = features.shape[1]
    distance = math.sqrt(offset[0] * offset[0] + offset[1] * offset[1] + offset[2] * offset[2])
    x, y, z = offset[0] / distance, offset[1] / distance, offset[2] / distance
    harmonics_at(x, y, z, count, basis)
    for k in range(count):
        weights[k] = 0.0
    for channel in range(3):
        slope = np.float64(sums[i, 6 + channel])
        if seen_color(features, i, basis, channel) < 0:
            slope = 0.0
        for k in range(count):
            weights[k] += features[i, k, channel] * slope
        for k in range(of_features.shape[1]):
            of_features[i, k, channel] += basis[k] * slope
    by_x, by_y, by_z = harmonics_slope(x, y, z, count, weights)
    along = by_x * x + by_y * y + by_z * z
    return (by_x - along * x) / distance, (by_y - along * y) / distance, (by_z - along * z) / distance


@Kernel
def project_backward(first, last, gaussians, camera, size, options, rectangles, sums, gradients, of_camera):
    """Gradients of the Gaussians first .. last - 1 from the sums that blending left.

    Args:
        first, last, gaussians, camera, size, options, rectangles: as in `project`.
        sums: [N, 10], see `blend_tiles_backward`.
        gradients: of `gaussians`, added to; those of the features are [N, 0, 3] where they are not wanted.
        of_camera: [17], added to.
    """
    means, rotations, scales, opacities, features = gaussians
    rotation, center, intrinsics = camera
    of_means, of_rotations, of_scales, of_opacities, of_features = gradients
    height, width = size
    _, _, blur, _, margin, antialiased, _, harmonic = options
    focal_x, skew, focal_y = intrinsics[0, 0], intrinsics[0, 1], intrinsics[1, 1]
    axes, to_image, projected, basis = np.empty((3, 3)), np.empty((2, 3)), np.empty((2, 3)), np.empty(16)
    by_projected, by_axes, weights = np.empty((2, 3)), np.empty((3, 3)), np.empty(16)
    for i in range(first, last):
        if rectangles[i, 0] >= rectangles[i, 1]:
            continue
        offset, point = camera_point(means, i, rotation, center)
        slopes, clamped = jacobian(point, intrinsics, width, height, margin)
        length = rotation_matrix(rotations, i, axes)
        image_axes(slopes, rotation, axes, to_image, projected)
        covariances, sharp, determinant = covariance(projected, scales, i, blur)

        (by_x, by_y), (by_xx, by_xy, by_yy) = by_mean_and_covariance(sums, i, covariances, determinant)
        of_opacities[i] += sums[i, 0] / opacities[i]
        if antialiased:
            more_xx, more_xy, more_yy = by_ratio(np.float64(sums[i, 0]), covariances, sharp, determinant, blur)
            by_xx, by_xy, by_yy = by_xx + more_xx, by_xy + more_xy, by_yy + more_yy
        add_scale_gradient(projected, scales, i, (by_xx, by_xy, by_yy), by_projected, of_scales)
        add_rotation_gradient(rotations, i, length, to_image, by_projected, by_axes, of_rotations)
        by_slope_x, by_slope_y, by_z = add_jacobian_gradient(
            point, intrinsics, slopes, clamped, rotation, axes, by_projected, of_camera
        )

        near = 1 / point[2]
        x, y = point[0] * near, point[1] * near
        of_camera[12] += by_x * x
        of_camera[13] += by_x * y
        of_camera[14] += by_x
        of_camera[15] += by_y * y
        of_camera[16] += by_y
        by_slope_x += by_x * focal_x
        by_slope_y += by_x * skew + by_y * focal_y
        by_z += sums[i, 9] - (by_slope_x * x + by_slope_y * y) * near
        by_point = (by_slope_x * near, by_slope_y * near, by_z)
        by_offset = (0.0, 0.0, 0.0)
        if harmonic:
            by_offset = by_direction(offset, features, i, sums, basis, weights, of_features)
        else:
            for channel in range(3 * of_features.shape[1]):
                of_features[i, 0, channel] += sums[i, 6 + channel]
        for j in range(3):
            of_mean = by_offset[j]
            for k in range(3):
                of_mean += rotation[j, k] * by_point[k]
                of_camera[3 * j + k] += offset[j] * by_point[k]
            of_means[i, j] += of_mean
            of_camera[9 + j] -= of_mean
