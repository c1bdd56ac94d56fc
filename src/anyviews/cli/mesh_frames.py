"""Meshes of `anyviews render`: lit by an environment, along a path of cameras."""

import argparse

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..formats.hdr import read_environment
from ..formats.world_up import AXES, Y_UP, quaternion_to_y_up
from ..geometry.paths import focus_point, up_direction
from ..geometry.quaternions import quaternion_to_matrix
from ..mesh import Mesh
from ..rendering.shading import relight
from ..rendering.shading.studio import studio_environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of meshes."""
    group = parser.add_argument_group("meshes")
    group.add_argument(
        "--environment",
        metavar="FILE",
        help="light of a mesh: an equirectangular .hdr or .exr, with its top where the world's up is (default: a grey "
        "room with a soft lamp; colours of vertices without a material are shown as they are); shadows are not traced",
    )
    group.add_argument(
        "--samples",
        type=int,
        help="directions of light per point, for light that is exact in the limit, as 64 (default: prefiltered light, "
        "which is faster)",
    )


def render_mesh_frames(
    mesh: Mesh, cameras: Cameras, background: Float[Tensor, "3"], arguments: argparse.Namespace
) -> dict[str, Tensor]:
    """Images [T, 3, H, W], depths [T, 1, H, W] and normals [T, 3, H, W], the last as colours."""
    environment = _light(cameras, arguments)
    options = {} if arguments.samples is None else {"samples": arguments.samples}
    method = "prefiltered" if arguments.samples is None else "sampled"
    views = relight(mesh, environment, cameras, method, **options)
    images = views.images
    if mesh.material is None and mesh.vertex_colors is not None and arguments.environment is None:
        # colours of photos have their light already
        images = views.base_colors * views.masks
    images = images + (1 - views.masks) * background[:, None, None]
    seen = views.masks >= 0.5
    return {
        "images": images.clamp(0, 1),
        "depths": views.depths * seen,
        "normals": (views.normals + 1) / 2 * seen,
    }


def _light(cameras: Cameras, arguments: argparse.Namespace):
    """The environment in the world of the mesh, whose up is that of the option, or of the cameras."""
    around = cameras.to("cpu")
    if arguments.up is not None or not arguments.cameras:
        up = torch.tensor(AXES[arguments.up or "y+"])
    else:
        up = up_direction(around).float()
    if arguments.environment is None:
        return studio_environment(up, around.centers[0] - focus_point(around))
    environment = read_environment(arguments.environment)
    if tuple(up.tolist()) == Y_UP:
        return environment
    x, y, z, w = quaternion_to_y_up(up.tolist())
    rotation = quaternion_to_matrix(torch.tensor([w, x, y, z]))
    return environment.turned(lambda directions: directions @ rotation.mT)
