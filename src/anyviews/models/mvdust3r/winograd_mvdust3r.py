"""Wide 5x5 convolutions on a CPU with two fifths of the products (Winograd's minimal filtering along the rows).

Four rows of the output come from eight rows of the input: eight sums of input rows, each convolved with one row of
transformed weights, and four sums of the results. Source: Winograd, "Arithmetic Complexity of Computations" (1980),
and Lavin and Gray (arXiv 1509.09308), section 3; here in one dimension, where rounding grows little.
"""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


TAPS, OUTPUTS = 5, 4
TERMS = OUTPUTS + TAPS - 1
POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)  # and infinity
CONSTANT_TERM = 1  # of the point 1, which enters every output row with factor 1: the place for a bias

# Below, adding costs more than multiplying saves.
FEWEST_CHANNELS = 64

# Terms of so many rows at a time stay in the cache of the processor.
BAND_BYTES = 2**24


def convolve(
    maps: Float[Tensor, "views inputs height width"],
    weight: Float[Tensor, "outputs inputs rows columns"],
    bias: Float[Tensor, " outputs"],
) -> Float[Tensor, "views outputs height width"]:
    """A convolution that keeps the size, by the cheapest way; without gradients only.

    Args:
        maps: channels last, for speed.
        weight: of odd kernel sizes.
        bias: added to every pixel.
    """
    wide = tuple(weight.shape[2:]) == (TAPS, TAPS) and min(weight.shape[:2]) >= FEWEST_CHANNELS
    if not (wide and maps.is_cpu):
        return F.conv2d(maps, weight, bias, padding=(weight.shape[2] // 2, weight.shape[3] // 2))
    of_terms = torch.einsum("tr,oirc->toic", _matrices()[0].to(weight), weight)[:, :, :, None]
    pixels = maps.permute(0, 2, 3, 1).contiguous()  # [views, height, width, channels]
    height, width = pixels.shape[1:3]
    convolved = pixels.new_empty(len(pixels), height, width, len(weight))
    rows = _rows_at_once(width, max(weight.shape[:2]), pixels.element_size())
    for view in range(len(pixels)):
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            convolved[view, top:bottom] = _convolve_rows(pixels[view], top, bottom, of_terms, bias)
    return convolved.permute(0, 3, 1, 2)


def working_bytes(height: int, width: int, channels: int, bytes_per_value: int) -> int:
    """What `convolve` takes for itself, beside the weights, the maps it is given and those it returns."""
    if channels < FEWEST_CHANNELS:
        return 0
    rows = min(_rows_at_once(width, channels, bytes_per_value), -(-height // OUTPUTS) * OUTPUTS)
    term = rows // OUTPUTS * width
    pixels = (rows + TAPS - 1) * width + (2 * TERMS + 1) * term + rows * width  # the band, terms and products, result
    return (TERMS * TAPS * channels + pixels) * channels * bytes_per_value


def _rows_at_once(width: int, channels: int, bytes_per_value: int) -> int:
    return max(1, BAND_BYTES // (TERMS * width * channels * bytes_per_value)) * OUTPUTS


def _convolve_rows(pixels: Tensor, top: int, bottom: int, of_terms: Tensor, bias: Tensor) -> Tensor:
    """Rows from `top` up to `bottom` of one view, [rows, width, outputs]."""
    _, to_terms, to_rows = (matrix.to(pixels) for matrix in _matrices())
    height, width, channels = pixels.shape
    tiles = -(-(bottom - top) // OUTPUTS)
    first, last = top - TAPS // 2, top - TAPS // 2 + tiles * OUTPUTS + TAPS - 1
    around = (0, 0, 0, 0, max(0, -first), max(0, last - height))
    band = F.pad(pixels[max(first, 0) : min(last, height)], around).view(-1, width * channels)
    overlapping = band.unfold(0, TERMS, OUTPUTS).transpose(1, 2)  # [tiles, TERMS, width * channels]
    terms = band.new_empty(TERMS, tiles, width * channels)
    torch.bmm(to_terms.expand(tiles, -1, -1), overlapping, out=terms.transpose(0, 1))
    products = band.new_empty(TERMS, tiles, width, len(bias))
    for index, weight in enumerate(of_terms):
        term = terms[index].view(1, tiles, width, channels).permute(0, 3, 1, 2)
        product = F.conv2d(term, weight, bias if index == CONSTANT_TERM else None, padding=(0, TAPS // 2))
        products[index] = product[0].permute(1, 2, 0)
    convolved = torch.bmm(to_rows.expand(tiles, -1, -1), products.flatten(2).transpose(0, 1))
    return convolved.view(-1, width, len(bias))[: bottom - top]


@cache
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Weights to terms [TERMS, TAPS], input to terms [TERMS, TERMS], terms to output [OUTPUTS, TERMS]; in float64.

    A filter is the transpose of a product of polynomials, which is known by its values at the points and its leading
    coefficient.
    """

    def values(coefficients: int) -> Tensor:
        at_points = torch.tensor(POINTS, dtype=torch.float64)[:, None] ** torch.arange(coefficients)
        return torch.cat([at_points, torch.eye(coefficients, dtype=torch.float64)[-1:]])

    return values(TAPS), torch.linalg.inv(values(TERMS)).T.contiguous(), values(OUTPUTS).T.contiguous()
