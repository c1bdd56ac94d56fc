"""From cameras, photos and depth to MVGD's tokens and back.

Scene scale normalisation, ray maps, the parametrisation of RGB and depth, and patches. Pure functions, used alike by
training and by the pipeline, so that the two cannot drift apart. Equations are those of arXiv 2501.18804 with the
corrections E1 to E4 that docs/methods/mvgd.md lists.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...cameras import Cameras
from ...geometry.rays import camera_rays, pixel_centers


@dataclass(frozen=True)
class NormalizedCameras:
    """Cameras in the frame of the first target, divided by the scene scale.

    Args:
        context: conditioning cameras, batch shape [batch, N].
        targets: target cameras, batch shape [batch, T]; the first is the identity.
        scale: [batch], world units per normalised unit; generated depth is multiplied by it.
    """

    context: Cameras
    targets: Cameras
    scale: Float[Tensor, "batch"]


def normalize_cameras(
    context: Cameras,
    targets: Cameras,
    scale_from: str = "center",
    scale: Float[Tensor, "batch"] | None = None,
) -> NormalizedCameras:
    """Scene scale normalisation (section 3.1 of the paper).

    The scale is the largest absolute component of the context cameras' positions relative to the first target, so it
    does not depend on the world frame, and generated depth times the scale is in the unit of the given cameras.

    Args:
        context, targets: batch shapes [batch, N] and [batch, T].
        scale_from: "center" (camera centres) or "translation" (of the world-to-camera matrices).
        scale: [batch], use this scale instead.
    """
    anchor = targets[:, :1]
    context, targets = context.relative_to(anchor), targets.relative_to(anchor)
    if scale is None:
        scale = scene_scale(context, scale_from)
    return NormalizedCameras(context.scaled(1 / scale[:, None]), targets.scaled(1 / scale[:, None]), scale)


def scene_scale(relative_context: Cameras, scale_from: str = "center") -> Float[Tensor, "batch"]:
    """The largest absolute component over views and axes of camera positions relative to the target."""
    if scale_from == "center":
        positions = relative_context.centers
    else:
        positions = relative_context.world_to_camera[..., :3, 3]
    return positions.abs().flatten(1).amax(-1)


def limit_scale(
    scale: Float[Tensor, "batch"],
    depths: Float[Tensor, "batch *pixels"],
    valid: Bool[Tensor, "batch *pixels"],
    depth_max: float,
    quantile: float = 1.0,
) -> Float[Tensor, "batch"]:
    """Enlarge the scale where normalised depth exceeds depth_max (training only; correction E1).

    Args:
        scale: [batch], world units.
        depths: z-depth in world units.
        valid: where depth is known.
        depth_max: largest depth in units of the scale.
        quantile: of the known depths that must fit; 1 is the paper's maximum.
    """
    known = depths.masked_fill(~valid, torch.nan).flatten(1)
    farthest = torch.nanquantile(known, quantile, dim=-1).nan_to_num(0.0)  # 0 where nothing is known
    return torch.maximum(scale, farthest / depth_max)


def ray_map(cameras: Cameras, rows: int, columns: int, normalize: bool = True) -> Float[Tensor, "*batch tokens 12"]:
    """Rays of a grid of tokens laid over each image, row by row.

    Args:
        cameras: batch shape [*batch], any image size.
        rows, columns: the token grid; the ray of a token passes through its centre.
        normalize: unit directions, else directions of z-depth 1.

    Returns:
        Origin (3), direction (3), and how the unit direction changes across one token to the right (3) and down (3).
    """
    grid = cameras.resize(rows, columns)
    pixels = pixel_centers(rows, columns, cameras.device, cameras.dtype).flatten(0, 1)
    pixels = pixels.expand(*cameras.batch_shape, -1, -1)
    origins, directions = camera_rays(grid, pixels)
    right = camera_rays(grid, pixels + pixels.new_tensor([1.0, 0.0]))[1] - directions
    down = camera_rays(grid, pixels + pixels.new_tensor([0.0, 1.0]))[1] - directions
    if not normalize:
        directions = camera_rays(grid, pixels, normalize=False)[1]
    return torch.cat([origins, directions, right, down], dim=-1)


def encode_rgb(images: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sRGB in [0, 1] to the diffusion's [-1, 1] (correction E3)."""
    return images * 2 - 1


def decode_rgb(states: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The diffusion's [-1, 1] to sRGB in [0, 1]."""
    return ((states + 1) / 2).clamp(0, 1)


def encode_depth(depths: Float[Tensor, "*shape"], depth_min: float, depth_max: float) -> Float[Tensor, "*shape"]:
    """Normalised depth to [-1, 1], uniform in its logarithm; values outside the range are clamped."""
    return 2 * torch.log(depths.clamp(depth_min, depth_max) / depth_min) / math.log(depth_max / depth_min) - 1


def decode_depth(states: Float[Tensor, "*shape"], depth_min: float, depth_max: float) -> Float[Tensor, "*shape"]:
    """The inverse of `encode_depth` (correction E2)."""
    return torch.exp((states.clamp(-1, 1) + 1) / 2 * math.log(depth_max / depth_min)) * depth_min


def patchify(
    maps: Float[Tensor, "batch targets channels height width"], patch_size: int
) -> Float[Tensor, "batch tokens features"]:
    """Cut maps of all targets into one list of tokens: target by target, row by row."""
    patches = F.pixel_unshuffle(maps, patch_size)  # [B, T, C * p * p, rows, columns]
    return patches.flatten(3).transpose(2, 3).flatten(1, 2)


def unpatchify(
    tokens: Float[Tensor, "batch tokens features"], targets: int, rows: int, columns: int, patch_size: int
) -> Float[Tensor, "batch targets channels height width"]:
    """The inverse of `patchify` for a grid of rows x columns tokens per target."""
    patches = tokens.unflatten(1, (targets, rows * columns)).transpose(2, 3).unflatten(3, (rows, columns))
    return F.pixel_shuffle(patches, patch_size)
