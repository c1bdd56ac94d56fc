"""Samples for boosting (MVBoost): generated views of an object, then the same views after the refinement."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..views import Views
from .samples import Sample


GENERATED, REFINED = "generated", "refined"

# A channel darker than this is not the white around an object.
NOT_WHITE = 0.96


def boosted_views(
    generated: Float[Tensor, "views 3 size size"],
    refined: Float[Tensor, "views 3 size size"],
    alphas: Float[Tensor, "views 1 size size"],
    cameras: Cameras,
    azimuths: Sequence[float],
) -> Views:
    """Both sets of views of one object with masks: V generated ones, then V refined ones.

    Args:
        generated: [V, 3, S, S], the object on white.
        refined: [V, 3, S, S], alike.
        alphas: [V, 1, S, S], what the Gaussians of the generated views cover, seen by the same cameras.
        cameras: V cameras, from where the reconstruction is to be seen like that.
        azimuths: V of them in degrees, for names.
    """
    names = [f"{kind} {azimuth:g}" for kind in (GENERATED, REFINED) for azimuth in azimuths]
    masks = torch.cat([object_masks(images, alphas) for images in (generated, refined)])
    twice = cameras[torch.arange(len(cameras)).repeat(2)]
    return Views(torch.cat([generated, refined]), twice, masks=masks, names=tuple(names))


def split_boosted(sample: Sample) -> tuple[Views, Views]:
    """The generated and the refined views of a sample.

    Raises:
        ValueError: if it is no sample of `boosted_views`.
    """
    views = sample.views
    half = len(views) // 2
    expected = [f"{GENERATED} {name.removeprefix(REFINED + ' ')}" for name in views.names[half:]]
    if half == 0 or list(views.names[:half]) != expected or views.cameras is None or views.masks is None:
        raise ValueError(
            f"{sample.key} has the views {', '.join(views.names[:4])}, ...; accepted are generated and refined views "
            "of an object with cameras and masks, as utils/make_boost_dataset.py writes them"
        )
    return views[:half], views[half:]


def azimuths_of(views: Views) -> list[float]:
    """Azimuths in degrees of the views of `split_boosted`."""
    return [float(name.split(" ")[1]) for name in views.names]


def object_masks(
    images: Float[Tensor, "views 3 size size"], alphas: Float[Tensor, "views 1 size size"], margin: int = 2
) -> Float[Tensor, "views 1 size size"]:
    """Where an object on white is, 0 or 1: what is not white near a rough silhouette, and all that is well inside it.

    Args:
        images: sRGB in [0, 1].
        alphas: the silhouette, half covered pixels are its border.
        margin: pixels by which it may be wrong, of images of 64 pixels; in proportion for others.
    """
    pixels = max(1, round(margin * images.shape[-1] / 64))
    inside = (alphas > 0.5).to(images)
    window = {"kernel_size": 2 * pixels + 1, "stride": 1, "padding": pixels}
    near, deep = F.max_pool2d(inside, **window), -F.max_pool2d(-inside, **window)
    colored = (images.amin(1, keepdim=True) < NOT_WHITE).to(images)
    return torch.maximum(near * colored, deep)
