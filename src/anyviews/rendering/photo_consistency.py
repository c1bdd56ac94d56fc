"""Points from photos with cameras alone: along the ray of a pixel, the depth at which neighbouring photos agree."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ..cameras import Cameras
from ..geometry.context import nearest_cameras
from ..geometry.depth import warp_images
from ..geometry.paths import focus_point
from ..geometry.rays import camera_rays
from ..scene import PointCloud
from ..views import Views


# Photos are compared at most so large, by 3x3 pixels that lie two apart.
LONGEST_SIDE = 192
PATCH = {"kernel_size": 3, "dilation": 2}

# Depths tried along each ray, evenly in inverse depth: first between these multiples of the distance to the focus,
# then between those that hold all but these shares of what was found, and as much again to both sides.
DEPTHS, NEAREST, FARTHEST = 96, 0.25, 8.0
TAILS = (0.02, 0.98)

# Photos that a photo is compared with, and how many of them count: a point may be hidden in the others.
NEIGHBORS, AGREEING = 4, 2

# Share of the photos that an object, which masks are of, is in the frame of.
MOST_PHOTOS = 0.5

# So many rays are tried for each point wanted; those whose best depth stands out most are kept.
RAYS_PER_POINT = 2.0


@torch.no_grad()
def consistent_points(views: Views, count: int = 20_000, seed: int = 0) -> PointCloud:
    """Points of the surfaces that photos agree on, for scenes that come without points and without depth.

    A plain plane sweep (Collins, CVPR 1996) along rays of random pixels, with patches parallel to the image. Points
    that any photo sees outside its mask are left out.

    Args:
        views: at least 2 photos with cameras, which overlap.
        count: of points; fewer come where masks leave fewer.
        seed: of the pixels.

    Raises:
        ValueError: if there are fewer photos, or they have no cameras, or no point is in all masks.
    """
    if views.cameras is None or len(views) < 2:
        raise ValueError(
            f"{len(views)} photos {'without' if views.cameras is None else 'with'} cameras; points are found in 2 or "
            "more photos with cameras. Give a scene with Gaussians, points or depth instead"
        )
    shrink = min(1.0, LONGEST_SIDE / max(views.height, views.width))
    views = views.resize(max(5, round(views.height * shrink)), max(5, round(views.width * shrink)))
    pixels = _random_pixels(views, round(RAYS_PER_POINT * count / len(views)) + 1, seed)
    cameras = views.cameras
    distance = ((focus_point(cameras) - cameras.centers) * cameras.rotation[..., 2]).sum(-1)
    distance = distance.clamp(min=0.1 * distance.abs().max())
    coarse = _sweep(views, pixels, distance * NEAREST, distance * FARTHEST)
    near, far = _found_range(coarse)
    fine = _sweep(views, pixels, near, far)
    chosen = fine.doubt.flatten().argsort(stable=True)[:count]
    chosen = chosen[fine.doubt.flatten()[chosen].isfinite()].sort().values
    if len(chosen) == 0:
        raise ValueError("no point lies inside the masks of all photos; are masks and cameras those of the photos?")
    colors = warp_images(views.images, pixels[:, None])[:, :, 0].mT.flatten(0, 1)
    positions = cameras.unproject(pixels, fine.depths).flatten(0, 1)
    return PointCloud(positions[chosen], colors[chosen])


@dataclass(frozen=True)
class _Found:
    """The best depth of each ray, [V, P], and the doubt in it: its cost over the median of the ray, infinite where no
    depth is possible.
    """

    depths: Float[Tensor, "views rays"]
    doubt: Float[Tensor, "views rays"]


def _random_pixels(views: Views, count: int, seed: int) -> Float[Tensor, "views count 2"]:
    """Pixels of each photo, inside its mask where it has one."""
    generator = torch.Generator().manual_seed(seed)
    inside = torch.ones_like(views.images[:, 0]) if views.masks is None else (views.masks[:, 0] > 0.5).float()
    weights = inside.flatten(1) + 1e-12  # an empty mask must not stop the draw
    drawn = torch.multinomial(weights, count, replacement=True, generator=generator)
    corner = torch.stack([drawn % views.width, drawn // views.width], dim=-1)
    return corner + torch.rand(corner.shape, generator=generator)


def _sweep(
    views: Views,
    pixels: Float[Tensor, "views rays 2"],
    near: Float[Tensor, "views"],
    far: Float[Tensor, "views"],
) -> _Found:
    cameras = views.cameras
    padded = F.pad(views.images, (2, 2, 2, 2), mode="replicate")
    patches = F.unfold(padded, **PATCH).unflatten(-1, views.images.shape[-2:])
    nearest = nearest_cameras(cameras, cameras, min(NEIGHBORS + 1, len(views)))
    steps = torch.linspace(0, 1, DEPTHS)
    depths, doubt = [], []
    for index in range(len(views)):
        others = nearest[index][nearest[index] != index][:NEIGHBORS]
        tried = 1 / torch.lerp(1 / near[index], 1 / far[index], steps)
        origins, directions = camera_rays(cameras[index], pixels[index], normalize=False)
        candidates = origins[:, None] + tried[:, None] * directions[:, None]  # [P, D, 3]
        own = warp_images(patches[index], pixels[index][None])[:, 0]  # [C, P]
        costs = _costs(own, patches[others], cameras[others], candidates)
        if views.masks is not None:
            costs = costs.masked_fill(_outside_masks(candidates, views), torch.inf)
        lowest, best = costs.min(-1)
        usual = costs.where(costs.isfinite(), torch.nan).nanmedian(-1).values
        depths.append(tried[best])
        doubt.append(torch.where(lowest.isfinite(), lowest / usual.clamp(min=1e-6), torch.inf))
    return _Found(torch.stack(depths), torch.stack(doubt))


def _costs(
    own: Float[Tensor, "channels rays"],
    patches: Float[Tensor, "others channels height width"],
    cameras: Cameras,
    candidates: Float[Tensor, "rays depths 3"],
) -> Float[Tensor, "rays depths"]:
    """Mean difference from the other photos that agree best with each candidate; infinite where fewer see it."""
    differences = []
    for patch, camera in zip(patches, cameras, strict=True):
        pixels, depth = camera.project(candidates.flatten(0, 1))
        seen = _inside(pixels, depth, camera).unflatten(0, candidates.shape[:2])
        seen_pixels = torch.where(seen[..., None], pixels.unflatten(0, candidates.shape[:2]), -1)
        difference = (warp_images(patch, seen_pixels) - own[..., None]).abs().mean(0)
        differences.append(torch.where(seen, difference, torch.inf))
    return torch.stack(differences).sort(dim=0).values[:AGREEING].mean(0)


def _outside_masks(candidates: Float[Tensor, "rays depths 3"], views: Views) -> Bool[Tensor, "rays depths"]:
    """Whether any photo sees a candidate where its mask is empty: outside the visual hull (Laurentini, TPAMI 1994).

    Close to a camera there are places that few photos could object to; what is no part of most photos is outside too.
    """
    outside = torch.zeros(candidates.shape[:2], dtype=torch.bool)
    witnesses = torch.zeros(candidates.shape[:2])
    for mask, camera in zip(views.masks, views.cameras, strict=True):
        pixels, depth = camera.project(candidates.flatten(0, 1))
        seen = _inside(pixels, depth, camera)
        on_object = warp_images(mask, torch.where(seen[:, None], pixels, -1)[None])[0, 0] > 0.5
        outside |= (seen & ~on_object).unflatten(0, candidates.shape[:2])
        witnesses += seen.unflatten(0, candidates.shape[:2])
    return outside | (witnesses < MOST_PHOTOS * len(views))


def _inside(
    pixels: Float[Tensor, "points 2"], depth: Float[Tensor, "points"], camera: Cameras
) -> Bool[Tensor, "points"]:
    """Which points fall inside a camera's image."""
    return (depth > 0) & (pixels >= 0).all(-1) & (pixels <= camera.image_sizes.flip(-1)).all(-1)


def _found_range(found: _Found) -> tuple[Float[Tensor, "views"], Float[Tensor, "views"]]:
    """The range of each photo's depths that most of its surer half lies in, and some more to both sides."""
    near, far = [], []
    for depths, doubt in zip(found.depths, found.doubt, strict=True):
        surer = depths[doubt <= doubt.median()] if doubt.median().isfinite() else depths[doubt.isfinite()]
        surer = surer if len(surer) else depths
        low, high = torch.quantile(1 / surer, torch.tensor(TAILS))
        margin = 0.1 * (high - low) + 0.02 * high
        near.append(1 / (high + margin))
        far.append(1 / (low - margin).clamp(min=0.25 * low))
    return torch.stack(near), torch.stack(far)
