"""render_normals: the directions that 3D Gaussians face, as images."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from ...gaussians import FIELDS, Gaussians
from .render import check_inputs, render_gaussians


# The least that a Gaussian adds to a pixel is 1/255; shorter sums are normals that cancel each other.
SHORTEST_SUM = 1e-4


def render_normals(
    gaussians: Gaussians, cameras: Cameras, backend: str = "auto", **options
) -> Float[Tensor, "*batch views 3 height width"]:
    """Render unit normals in the world frame, towards the camera; 0 where no Gaussian is seen.

    A Gaussian's normal is its shortest axis, turned to the side that the camera sees. Normals are blended as colours
    are, then made unit length (as in Dai et al., Gaussian Surfels, SIGGRAPH 2024).

    Args:
        gaussians: of batch shape [*batch]; their normals say something where they are flat.
        cameras: of batch shape [*batch, V], all of one image size.
        backend: as for `render_gaussians`.
        options: other arguments of `render_gaussians`, but colors and background.

    Raises:
        ValueError: for values that cannot be rendered, naming the first.
    """
    check_inputs(gaussians, cameras)
    # which side is seen differs between cameras: each gets a set of its own, without a copy
    sets = _repeated(gaussians, cameras.batch_shape[-1])
    normals = sets.normals()
    seen_from = cameras.centers[..., None, :] - sets.means
    facing = torch.where((normals * seen_from).sum(-1, keepdim=True) < 0, -normals, normals)
    alone = cameras.reshape(*cameras.batch_shape, 1)
    rendered = render_gaussians(sets, alone, backend, background=None, colors=facing, **options)
    return F.normalize(rendered.images.squeeze(-4), dim=-3, eps=SHORTEST_SUM)


def _repeated(gaussians: Gaussians, views: int) -> Gaussians:
    """The same Gaussians in a new last batch dimension, [*batch, V]."""
    axis = len(gaussians.batch_shape)
    shape = (*gaussians.batch_shape, views)
    fields = {name: getattr(gaussians, name).unsqueeze(axis) for name in FIELDS}
    return Gaussians(**{name: values.expand(*shape, *values.shape[axis + 1 :]) for name, values in fields.items()})
