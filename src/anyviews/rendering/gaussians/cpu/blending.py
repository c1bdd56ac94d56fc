"""Blend sorted Gaussians into the pixels of tiles, and the way back (Kerbl et al., SIGGRAPH 2023).

A tile is walked Gaussian by Gaussian, front to back; one row of its pixels is one vector. The way back goes back to
front, divides each Gaussian's share out of the transmittance, and leaves ten sums for every pair of a Gaussian and a
tile. They are added up elsewhere in a fixed order, so that nothing depends on which thread did what.

A Gaussian comes as two records, written by the projection:

- `placed`, float64: the mean (x, y) in pixels and the first row (p, q) of the factor of its scaled precision,
- `shaded`, float32: the factor's last entry r, opacity, red, green, blue, depth, and half the height of its box,

so that the falloff exp(-16 (u^2 + v^2)) at an offset (x, y) has u = p x + q y and v = r y. Thin diagonal Gaussians
keep their accuracy in this form, where a quadratic in x and y would lose it to cancellation.
"""

import math

import numpy as np

from .compiler import Kernel, helper
from .lanes import any_lane, choose, load, ramp, spread, store, total


# Values of `placed`, `shaded` and the sums of a pair.
PLACED, SHADED, SUMS = 4, 7, 10

# The falloff is a power of this, which keeps the argument of the series small.
POWER = 16

SIDE = 16
AREA = SIDE * SIDE
ZERO, ONE = np.float32(0), np.float32(1)
LOWEST = np.float32(-6 / POWER)  # exp(-6) is below 1/255
SIXTH, FIFTH, FOURTH, THIRD, HALF = (np.float32(1 / math.factorial(n)) for n in (6, 5, 4, 3, 2))


@helper
def exponential(values):
    """exp(16 x) of a row between LOWEST and 0, to 2e-6 of its value."""
    values = choose(values > LOWEST, values, LOWEST)
    series = values * SIXTH + FIFTH
    series = series * values + FOURTH
    series = series * values + THIRD
    series = series * values + HALF
    series = series * values + ONE
    series = series * values + ONE
    series = series * series
    series = series * series
    series = series * series
    return series * series


@helper
def row_range(mean_y, reach, top):
    """The first row of a tile that a Gaussian's box reaches, and the one after the last."""
    low = max(0.0, np.ceil(mean_y - reach - 0.5) - top)
    high = min(float(SIDE), np.floor(mean_y + reach + 0.5) - top)
    return int(low), int(high)


@Kernel
def blend_tiles(first, last, lists, records, limits, out, light, stops):
    """Blend the tiles first .. last - 1 of a window.

    Args:
        first, last: numbers of tiles, row by row within the window.
        lists: the window (first and last + 1 tile column, first and last + 1 tile row), offsets and members: the
            Gaussians of tile t, front to back, are members[offsets[t] : offsets[t + 1]].
        records: `placed` and `shaded`, of the Gaussians.
        limits: float32, least and largest opacity at a pixel, and the transmittance that finishes a pixel.
        out: [5, H, W], written: red, green, blue, alpha, accumulated depth.
        light: [H, W], written: transmittance behind the last Gaussian that counts.
        stops: [H, W], written: place in the tile's list of the Gaussian that finished the pixel, else the length.
    """
    window, offsets, members = lists
    placed, shaded = records
    height, width = light.shape
    least, most, finished = limits
    across = window[1] - window[0]
    # transmittance (negative once the pixel is finished), red, green, blue, depth, stop
    state = np.empty(6 * AREA, np.float32)
    lanes = ramp()
    for tile in range(first, last):
        left, top = (window[0] + tile % across) * SIDE, (window[2] + tile // across) * SIDE
        start, count = offsets[tile], offsets[tile + 1] - offsets[tile]
        state[:AREA] = ONE
        state[AREA : 5 * AREA] = ZERO
        state[5 * AREA :] = np.float32(count)
        for y in range(SIDE):
            for x in range(SIDE):
                if left + x >= width or top + y >= height:
                    state[y * SIDE + x] = -ONE
        for place in range(count):
            if place % 16 == 15:
                live = ZERO
                for pixel in range(AREA):
                    live = max(live, state[pixel])
                if live == ZERO:
                    break
            i = members[start + place]
            mean_x, mean_y, p, q = placed[i, 0], placed[i, 1], placed[i, 2], placed[i, 3]
            r, opacity, red, green, blue = shaded[i, 0], shaded[i, 1], shaded[i, 2], shaded[i, 3], shaded[i, 4]
            depth, reach = shaded[i, 5], shaded[i, 6]
            offset_x, step = left + 0.5 - mean_x, np.float32(p)
            low, high = row_range(mean_y, reach, top)
            for y in range(low, high):
                offset_y = top + y + 0.5 - mean_y
                u0 = np.float32(p * offset_x + q * offset_y)
                v = r * np.float32(offset_y)
                at = y * SIDE
                u = lanes * step + u0
                alpha = exponential(spread(-v * v) - u * u) * opacity
                alpha = choose(alpha < most, alpha, most)
                before = load(state, at)
                after = before - before * alpha
                seen = (alpha >= least) & (before > ZERO)
                counts = seen & (after > finished)
                weight = choose(counts, alpha * before, ZERO)
                ends = seen & (after <= finished)
                store(state, at + AREA, load(state, at + AREA) + weight * red)
                store(state, at + 2 * AREA, load(state, at + 2 * AREA) + weight * green)
                store(state, at + 3 * AREA, load(state, at + 3 * AREA) + weight * blue)
                store(state, at + 4 * AREA, load(state, at + 4 * AREA) + weight * depth)
                now = choose(counts, after, before)
                if any_lane(ends):
                    now = choose(ends, spread(ZERO) - before, now)
                    store(state, at + 5 * AREA, choose(ends, np.float32(place), load(state, at + 5 * AREA)))
                store(state, at, now)
        for y in range(min(SIDE, height - top)):
            for x in range(min(SIDE, width - left)):
                at = y * SIDE + x
                transmitted = abs(state[at])
                light[top + y, left + x] = transmitted
                stops[top + y, left + x] = state[at + 5 * AREA]
                out[0, top + y, left + x] = state[at + AREA]
                out[1, top + y, left + x] = state[at + 2 * AREA]
                out[2, top + y, left + x] = state[at + 3 * AREA]
                out[3, top + y, left + x] = ONE - transmitted
                out[4, top + y, left + x] = state[at + 4 * AREA]


@Kernel
def blend_tiles_backward(first, last, lists, pairs, records, limits, slopes, light, stops, sums):
    """Gradients of the tiles first .. last - 1 of a window.

    Args:
        first, last, lists, records, limits, light, stops: as in `blend_tiles`.
        pairs: for each tile the row of `sums` of its first Gaussian, and how many Gaussians of its list it looked at.
        slopes: [5, H, W], derivatives of a loss by what `blend_tiles` wrote to `out`.
        sums: [pairs, 10], written: with e the derivative by the logarithm of a pixel's opacity, u as above and y the
            vertical offset, the sums over pixels of e, eu, euu, ey, eyu and eyy, and the derivatives by red, green,
            blue and depth.
    """
    window, offsets, members = lists
    starts, used = pairs
    placed, shaded = records
    height, width = light.shape
    least, most, _ = limits
    across = window[1] - window[0]
    # transmittance, slope times what lies behind, stop, slopes of red, green, blue, depth
    state = np.empty(7 * AREA, np.float32)
    lanes = ramp()
    for tile in range(first, last):
        left, top = (window[0] + tile % across) * SIDE, (window[2] + tile // across) * SIDE
        start = offsets[tile]
        for y in range(SIDE):
            for x in range(SIDE):
                at = y * SIDE + x
                if left + x < width and top + y < height:
                    pixel_x, pixel_y = left + x, top + y
                    transmitted = light[pixel_y, pixel_x]
                    state[at] = transmitted
                    state[at + AREA] = -slopes[3, pixel_y, pixel_x] * transmitted
                    state[at + 2 * AREA] = stops[pixel_y, pixel_x]
                    state[at + 3 * AREA] = slopes[0, pixel_y, pixel_x]
                    state[at + 4 * AREA] = slopes[1, pixel_y, pixel_x]
                    state[at + 5 * AREA] = slopes[2, pixel_y, pixel_x]
                    state[at + 6 * AREA] = slopes[4, pixel_y, pixel_x]
                else:
                    state[at] = ONE
                    for channel in range(1, 7):
                        state[at + channel * AREA] = ZERO
        for place in range(used[tile] - 1, -1, -1):
            i = members[start + place]
            mean_x, mean_y, p, q = placed[i, 0], placed[i, 1], placed[i, 2], placed[i, 3]
            r, opacity, red, green, blue = shaded[i, 0], shaded[i, 1], shaded[i, 2], shaded[i, 3], shaded[i, 4]
            depth, reach = shaded[i, 5], shaded[i, 6]
            offset_x, step = left + 0.5 - mean_x, np.float32(p)
            number = np.float32(place)
            low, high = row_range(mean_y, reach, top)
            e0 = e1 = e2 = y0 = y1 = y2 = w0 = w1 = w2 = w3 = spread(ZERO)
            for y in range(low, high):
                offset_y = top + y + 0.5 - mean_y
                u0 = np.float32(p * offset_x + q * offset_y)
                dy = np.float32(offset_y)
                v = r * dy
                at = y * SIDE
                u = lanes * step + u0
                raw = exponential(spread(-v * v) - u * u) * opacity
                alpha = choose(raw < most, raw, most)
                counts = (alpha >= least) & (load(state, at + 2 * AREA) > number)
                share = spread(ONE) / (spread(ONE) - alpha)
                after = load(state, at)
                before = choose(counts, after * share, after)
                store(state, at, before)
                weight = choose(counts, alpha * before, ZERO)
                slope0, slope1 = load(state, at + 3 * AREA), load(state, at + 4 * AREA)
                slope2, slope3 = load(state, at + 5 * AREA), load(state, at + 6 * AREA)
                slope = slope0 * red + slope1 * green + slope2 * blue + slope3 * depth
                behind = load(state, at + AREA)
                store(state, at + AREA, behind + weight * slope)
                e = choose(counts & (raw <= most), (before * slope - behind * share) * raw, ZERO)
                eu = e * u
                e0, e1, e2 = e0 + e, e1 + eu, e2 + eu * u
                y0, y1, y2 = y0 + e * dy, y1 + eu * dy, y2 + e * (dy * dy)
                w0, w1, w2, w3 = w0 + weight * slope0, w1 + weight * slope1, w2 + weight * slope2, w3 + weight * slope3
            at = starts[tile] + place
            sums[at, 0], sums[at, 1], sums[at, 2] = total(e0), total(e1), total(e2)
            sums[at, 3], sums[at, 4], sums[at, 5] = total(y0), total(y1), total(y2)
            sums[at, 6], sums[at, 7], sums[at, 8], sums[at, 9] = total(w0), total(w1), total(w2), total(w3)
