"""Photos as a refinement compares with them: on one device, with what counts of them and what lies behind."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..gaussians import Gaussians
from ..scene import Scene
from ..views import Views
from .gaussians import render_gaussians
from .image_quality import SMALLEST, psnr, ssim


# Photos whose aspect ratio differs from that of the cameras by more than rounding to whole pixels are other photos.
ASPECT_TOLERANCE = 0.02

# The renderer's near plane in worlds whose cameras are one unit or more away from what they see.
NEAR = 0.01
SAMPLED_MEANS = 10_000


@dataclass(frozen=True)
class Targets:
    """Photos that renders are compared with.

    Args:
        images: [V, 3, H, W], sRGB.
        weights: [V, 1, H, W], how much each pixel counts, or None for all alike.
        background: [3], sRGB, what lies behind the Gaussians, or None for black.
    """

    images: Float[Tensor, "views 3 height width"]
    weights: Float[Tensor, "views 1 height width"] | None
    background: Float[Tensor, "3"] | None

    @classmethod
    def create(cls, views: Views, background: Float[Tensor, "3"] | None, like: Tensor) -> "Targets":
        """Photos on the device of `like`; masked ones are put on the background where there is one.

        Raises:
            ValueError: if nothing of a photo counts.
        """
        if views.masks is None:
            return cls(views.images.to(like), None, None if background is None else background.to(like))
        images, masks = views.images.to(like), views.masks.to(like)
        if background is not None:
            background = background.to(like)
            return cls(images * masks + background[:, None, None] * (1 - masks), None, background)
        empty = [name for name, mask in zip(views.names, masks, strict=True) if not (mask > 0).any()]
        if empty:
            raise ValueError(f"the masks of {len(empty)} photos are empty, the first of {empty[0]}; leave these out")
        return cls(images, masks, None)

    def __getitem__(self, index: Tensor | slice) -> "Targets":
        return Targets(self.images[index], None if self.weights is None else self.weights[index], self.background)


def posed_views(scene: Scene, views: Views | None = None) -> Views:
    """The photos of a scene with cameras of their size.

    Args:
        scene: whose cameras photos without cameras take, one each, and whose images are the photos if none are given.
        views: the photos.

    Raises:
        ValueError: if there are no photos, or the scene's cameras are not theirs.
    """
    if views is None:
        if scene.images is None:
            raise ValueError("the scene has no images to compare with; give views, the photos with their cameras")
        return Views(scene.images, scene.cameras, names=scene.names)
    if views.cameras is not None:
        return views
    if len(views) != len(scene):
        raise ValueError(
            f"{len(views)} photos without cameras and {len(scene)} cameras of the scene; give one each, or photos "
            "with cameras in the scene's world"
        )
    given = scene.cameras
    if abs(given.width / given.height * views.height / views.width - 1) > ASPECT_TOLERANCE:
        raise ValueError(
            f"the photos have {views.height}x{views.width} pixels but the cameras of the scene "
            f"{given.height}x{given.width}, another aspect ratio; give the photos that the scene was made from, or "
            "photos with cameras"
        )
    return replace(views, cameras=given.resize(views.height, views.width))


def near_plane(gaussians: Gaussians, cameras: Cameras) -> float:
    """A near plane in front of which nothing is meant to be seen, whatever the unit of the world.

    It is a hundredth of the median distance between cameras and Gaussians, and not more than the renderer's own.
    """
    sample = gaussians.means.detach()[:: -(-len(gaussians) // SAMPLED_MEANS)]
    centers = cameras.centers.detach().to(sample)
    return NEAR * min(1.0, float(torch.cdist(centers, sample).median()))


def shrunk(views: Views, level: int) -> Views:
    """The photos halved `level` times, but not below what SSIM needs."""
    shrink = 2**level
    height, width = max(views.height // shrink, SMALLEST), max(views.width // shrink, SMALLEST)
    return views if level == 0 else views.resize(height, width)


@torch.no_grad()
def photo_scores(
    gaussians: Gaussians, views: Views, background: Float[Tensor, "3"] | None = None, backend: str = "auto"
) -> dict[str, Float[Tensor, "views"]]:
    """PSNR in dB and SSIM of renders against photos, over the pixels that count in `refine_scene`.

    Args:
        gaussians: of the views' world.
        views: with cameras.
        background: [3], sRGB, as for `refine_scene`.
        backend: of `render_gaussians`.
    """
    targets, scores = Targets.create(views, background, gaussians.means), []
    options = {"backend": backend, "background": targets.background, "near": near_plane(gaussians, views.cameras)}
    # one at a time, to bound the memory
    for index, camera in enumerate(views.cameras.to(gaussians.device)):
        target = targets[index : index + 1]
        render = render_gaussians(gaussians, camera.reshape(1), **options).images
        scores.append(torch.stack([score(render, target.images, target.weights) for score in (psnr, ssim)]))
    return dict(zip(("psnr", "ssim"), torch.cat(scores, dim=1), strict=True))
