"""Looking up textures: bilinear, with mipmaps where a pixel covers many texels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Texture:
    """A texture that repeats, with halves of its size down to 1x1 (L. Williams, "Pyramidal parametrics", 1983).

    Args:
        values: [C, H, W], the first row on top.
    """

    def __init__(self, values: Float[Tensor, "channels height width"]):
        self.levels = [values]
        while max(self.levels[-1].shape[-2:]) > 1:
            # an odd size keeps its last row or column as it is
            self.levels.append(F.avg_pool2d(self.levels[-1][None], 2, ceil_mode=True, count_include_pad=False)[0])

    def look_up(
        self, places: Float[Tensor, "points 2"], areas: Float[Tensor, "points"] | None = None
    ) -> Float[Tensor, "points channels"]:
        """Interpolated values.

        Args:
            places: [N, 2], u to the right and v down; the texture spans [0, 1] and repeats.
            areas: [N], of the parallelograms in (u, v) that the values should be averaged over, or None for points.
        """
        finest = self.levels[0]
        if areas is None or len(self.levels) == 1:
            return _bilinear(finest, places)
        texels = areas * finest.shape[-1] * finest.shape[-2]
        level = (0.5 * texels.clamp(min=1e-12).log2()).clamp(0, len(self.levels) - 1)
        lower = level.floor().long().clamp(max=len(self.levels) - 2)
        part = (level - lower)[:, None]
        values = torch.empty(len(places), finest.shape[0], dtype=finest.dtype, device=finest.device)
        for index in range(len(self.levels) - 1):
            chosen = lower == index
            if chosen.any():
                fine, coarse = (_bilinear(self.levels[index + k], places[chosen]) for k in (0, 1))
                values[chosen] = torch.lerp(fine, coarse, part[chosen])
        return values


def _bilinear(
    values: Float[Tensor, "channels height width"], places: Float[Tensor, "points 2"]
) -> Float[Tensor, "points channels"]:
    height, width = values.shape[-2:]
    flat = values.flatten(1).mT.contiguous()  # [H * W, C]
    position = places * places.new_tensor([width, height]) - 0.5
    corner = position.floor()
    part = (position - corner).to(values)
    left, top = corner.long().unbind(-1)
    rows = [(top + step) % height * width for step in (0, 1)]
    columns = [(left + step) % width for step in (0, 1)]
    upper, lower = (torch.lerp(flat[row + columns[0]], flat[row + columns[1]], part[:, :1]) for row in rows)
    return torch.lerp(upper, lower, part[:, 1:])


def texture_areas(
    corners: Float[Tensor, "points 3 3"],
    places: Float[Tensor, "points 3 2"],
    barycentrics: Float[Tensor, "points 3"],
    inverse_focal_area: float,
) -> Float[Tensor, "points"]:
    """Areas in (u, v) that pixels cover on their faces.

    Args:
        corners: [N, 3, 3], of the pixel's face, in the camera's axes.
        places: [N, 3, 2], texture coordinates of the corners.
        barycentrics: [N, 3], of the pixel.
        inverse_focal_area: the area of a pixel at depth 1.
    """
    sides = corners[:, 1:] - corners[:, :1]
    across = torch.linalg.cross(sides[:, 0], sides[:, 1], dim=-1)
    double_area = across.norm(dim=-1).clamp(min=1e-30)
    (du1, dv1), (du2, dv2) = (places[:, 1] - places[:, 0]).T, (places[:, 2] - places[:, 0]).T
    point = (corners * barycentrics[..., None]).sum(1)
    # a pixel's cone meets a plane in its area over depth squared, stretched by the slant towards the optical axis
    cosine = (across * point).sum(-1).abs() / double_area / point[:, 2].clamp(min=1e-12)
    covered = point[:, 2].square() * inverse_focal_area / cosine.clamp(min=1e-3)
    return (du1 * dv2 - du2 * dv1).abs() / double_area * covered
