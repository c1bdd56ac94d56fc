"""Answers that know no geometry: what every method must beat."""

from jaxtyping import Float
from torch import Tensor

from ..geometry.context import nearest_cameras
from ..views import Views


def nearest_view(context: Views, targets: Views) -> Float[Tensor, "targets 3 height width"]:
    """For each target the given image whose camera is nearest."""
    return context.images[nearest_cameras(targets.cameras, context.cameras, 1)[:, 0]]


def mean_color(context: Views, targets: Views) -> Float[Tensor, "targets 3 height width"]:
    """The mean colour of the given images everywhere."""
    return context.images.mean((0, 2, 3))[:, None, None].expand_as(targets.images)
