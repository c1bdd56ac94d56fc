"""What `benchmark_gaussians.py` compares the CPU renderer with: two ways to blend Gaussians in PyTorch.

Both take projected Gaussians and the lists of the tiles, so that nothing but blending is compared, and blend the same
four channels with the same thresholds.
"""

import sys
import types
from dataclasses import dataclass

import numba
import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from anyviews.rendering.gaussians.cpu.projection import SCALE
from anyviews.rendering.gaussians.settings import MIN_ALPHA, MIN_TRANSMITTANCE, TILE


MAX_ALPHA = 0.999


@dataclass(frozen=True)
class Projected:
    """Gaussians in an image.

    Args:
        means: [N, 2] in pixels.
        conics: [N, 3], inverse covariances (xx, xy, yy).
        opacities: [N].
        channels: [N, 4], red, green, blue, depth.
        offsets, members: the Gaussians of tile t, front to back, are members[offsets[t] : offsets[t + 1]].
        height, width: of the image.
    """

    means: Tensor
    conics: Tensor
    opacities: Tensor
    channels: Tensor
    offsets: np.ndarray
    members: np.ndarray
    height: int
    width: int

    @classmethod
    def from_records(cls, lists: tuple, records: tuple, height: int, width: int) -> "Projected":
        """From what the CPU renderer blends."""
        placed, shaded = (torch.from_numpy(values) for values in records)
        p, q, r = placed[:, 2] / SCALE, placed[:, 3] / SCALE, shaded[:, 0] / SCALE
        conics = torch.stack([p * p, p * q, q * q + r * r], dim=-1).float()
        tensors = [placed[:, :2].float(), conics, shaded[:, 1].clone(), shaded[:, 2:6].clone()]
        seen = np.zeros(len(placed), bool)
        seen[lists[2]] = True
        for values in tensors:  # Gaussians in no list have no record
            values[~torch.from_numpy(seen)] = 0
        return cls(*(values.requires_grad_() for values in tensors), lists[1], lists[2], height, width)

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return self.means, self.conics, self.opacities, self.channels


def gsplat_accumulate(scene: Projected) -> tuple[Tensor, Tensor]:
    """gsplat's own PyTorch code, with stand-ins for the two calls in it that need CUDA: [H, W, 4] and alpha [H, W]."""
    from gsplat.cuda import _torch_impl

    stand_in = types.ModuleType("nerfacc")
    stand_in.render_weight_from_alpha, stand_in.accumulate_along_rays = _weights, _accumulate
    sys.modules.setdefault("nerfacc", stand_in)
    means, conics, opacities, channels = scene.leaves
    pixels, gaussians = list_pairs(scene)
    blended, alphas = _torch_impl.accumulate(
        means[None], conics[None], opacities[None], channels[None], gaussians, pixels, torch.zeros_like(pixels),
        scene.width, scene.height,
    )  # fmt: skip
    return blended[0], alphas[0, ..., 0]


def list_pairs(scene: Projected) -> tuple[Tensor, Tensor]:
    """Pixels and Gaussians of all pairs that count, pixel by pixel, front to back."""
    tensors = [scene.means, scene.conics, scene.opacities]
    arrays = [values.detach().numpy() for values in tensors]
    lists = (scene.offsets, scene.members, scene.height, scene.width)
    nothing = np.zeros(1, np.int64)
    count = _write_pairs(*arrays, *lists, False, nothing, nothing)
    pixels, gaussians = np.empty((2, count), np.int64)
    _write_pairs(*arrays, *lists, True, pixels, gaussians)
    return torch.from_numpy(pixels), torch.from_numpy(gaussians)


@numba.njit(nogil=True)
def _write_pairs(means, conics, opacities, offsets, members, height, width, write, pixels, gaussians):
    count, across = 0, (width + TILE - 1) // TILE
    for pixel in range(height * width):
        x, y, light = pixel % width, pixel // width, np.float32(1)
        tile = y // TILE * across + x // TILE
        for place in range(offsets[tile], offsets[tile + 1]):
            i = members[place]
            dx, dy = np.float32(x + 0.5) - means[i, 0], np.float32(y + 0.5) - means[i, 1]
            falloff = 0.5 * (conics[i, 0] * dx * dx + conics[i, 2] * dy * dy) + conics[i, 1] * dx * dy
            alpha = min(np.float32(MAX_ALPHA), opacities[i] * np.exp(-falloff))
            if alpha < MIN_ALPHA:
                continue
            light = light * (1 - alpha)
            if light <= MIN_TRANSMITTANCE:
                break
            if write:
                pixels[count], gaussians[count] = pixel, i
            count += 1
    return count


def _weights(alphas: Tensor, ray_indices: Tensor, n_rays: int) -> tuple[Tensor, Tensor]:
    """Weights and transmittances along rays, from sums of logarithms."""
    steps = torch.log1p(-alphas.double())
    before = steps.cumsum(0) - steps
    starts = torch.cat([torch.tensor([True]), ray_indices[1:] != ray_indices[:-1]])
    first = starts.nonzero()[:, 0][starts.long().cumsum(0) - 1]
    transmittance = torch.exp(before - before[first]).to(alphas.dtype)
    return alphas * transmittance, transmittance


def _accumulate(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
    weighted = weights[:, None] if values is None else weights[:, None] * values
    return torch.zeros(n_rays, weighted.shape[1]).index_add(0, ray_indices, weighted)


def tiled_torch(scene: Projected, group: int = 64, budget: int = 1_000_000) -> tuple[Tensor, Tensor]:
    """Plain PyTorch, tiles of like length side by side, `group` Gaussians at once: [H, W, 4] and alpha [H, W].

    Args:
        group: Gaussians of a tile that are blended in one step, and computed again for the gradients.
        budget: pairs of a Gaussian and a pixel that are held at once.
    """
    rows, columns = -(-scene.height // TILE), -(-scene.width // TILE)
    offsets, members = torch.from_numpy(scene.offsets), torch.from_numpy(scene.members).long()
    counts = offsets.diff()
    order = counts.argsort()
    y, x = (index.flatten() + 0.5 for index in torch.meshgrid(torch.arange(TILE), torch.arange(TILE), indexing="ij"))
    blended, transmitted = [], []
    for tiles in order.split(max(1, budget // (TILE * TILE * group))):
        pixels = torch.stack([(tiles % columns)[:, None] * TILE + x, (tiles // columns)[:, None] * TILE + y], dim=-1)
        light, live = torch.ones(pixels.shape[:2]), torch.ones(pixels.shape[:2], dtype=torch.bool)
        total = torch.zeros(*pixels.shape[:2], 4)
        for start in range(0, int(counts[tiles].max()), group):
            if not live.any():
                break
            places = torch.arange(start, start + group)
            listed = places < counts[tiles][:, None]
            chosen = members[(offsets[tiles][:, None] + places).clamp(max=len(members) - 1)]
            inputs = (light, live, pixels, listed, *(values[chosen] for values in scene.leaves))
            if torch.is_grad_enabled():
                added, light, live = checkpoint(_blend_group, *inputs, use_reentrant=False)
            else:
                added, light, live = _blend_group(*inputs)
            total = total + added
        blended.append(total)
        transmitted.append(light)
    values = torch.cat([torch.cat(blended), 1 - torch.cat(transmitted)[..., None]], dim=-1)
    values = torch.zeros_like(values).index_copy(0, order, values)
    image = values.unflatten(0, (rows, columns)).unflatten(2, (TILE, TILE)).transpose(1, 2).flatten(0, 1).flatten(1, 2)
    image = image[: scene.height, : scene.width]
    return image[..., :4], image[..., 4]


def _blend_group(light, live, pixels, listed, means, conics, opacities, channels) -> tuple[Tensor, Tensor, Tensor]:
    x, y = (pixels[:, :, None] - means[:, None]).unbind(-1)
    xx, xy, yy = conics[:, None].unbind(-1)
    falloff = (0.5 * xx * x + xy * y) * x + 0.5 * yy * y * y
    alpha = (opacities[:, None] * torch.exp(-falloff)).clamp(max=MAX_ALPHA)
    alpha = torch.where((alpha >= MIN_ALPHA) & listed[:, None], alpha, 0)
    after = torch.cumprod(1 - alpha, dim=-1) * light[..., None]
    before = torch.cat([light[..., None], after[..., :-1]], dim=-1)
    counts = (after > MIN_TRANSMITTANCE) & live[..., None]
    weight = torch.where(counts, alpha * before, 0)
    return weight @ channels, light - weight.sum(-1), counts[..., -1]
