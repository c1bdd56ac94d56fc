"""A whole scene, or the steps of one, as one HTML page that opens offline: Gaussians, meshes, points and cameras."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..mesh import Mesh
from ..scene import PointCloud, Scene
from .gaussian_html import centered, shown_gaussians
from .viewer_page import Blocks, checked_cameras, described_cameras, framing_radius, write_viewer_page
from .viewer_parts import frusta_part, gaussian_part, mesh_part, point_part


# Pyramids of cameras, in distances between neighbouring cameras, and at most in radii of the scene.
FRUSTUM_OF_DISTANCE, FRUSTUM_OF_RADIUS = 0.35, 0.15
# Diameter of a point in mean distances between points that cover a disc of the scene's radius.
POINT_SIZE = 1.6
# Cameras beyond this number have no photos on their pyramids, which would be too small to see.
MOST_PHOTOS = 256


def write_scene_html(
    scene: Scene | Sequence[Scene],
    path: Path | str,
    title: str = "3D scene",
    step_names: Sequence[str] | None = None,
    overwrite: bool = False,
    max_gaussians: int = 1_000_000,
    max_points: int = 1_000_000,
) -> None:
    """Write a page that shows a scene in any browser with WebGL2, from disk and without a network.

    It shows Gaussians as `rendering.render_gaussians` does, meshes with their textures (lit by a fixed light, or as
    they are), coloured points, of which the least sure ones can be hidden, and the cameras as pyramids with their
    photos or depth. Several scenes are the steps of one, such as a reconstruction that more photos refine: they share
    the last one's cameras, and a slider goes through them. Known depth is shown as points where there are no others.

    The address can end in the settings of `write_gaussian_html`, and in `show` (gaussians, mesh, points, or several
    with commas), `surest` (the share of the points that is shown), `step`, and 0 or 1 for `frusta`, `depth`, `lit`.

    Args:
        scene: what to show, or the steps.
        path: the HTML file.
        title: of the page.
        step_names: of the steps; by default their numbers.
        overwrite: whether an existing file may be replaced.
        max_gaussians: of larger sets the most visible are kept, with a warning and a note on the page.
        max_points: of larger sets a random choice is kept, likewise.

    Raises:
        ValueError: if there is nothing to show, values are unusable, or the file exists.
    """
    scenes = [scene] if isinstance(scene, Scene) else list(scene)
    if not scenes:
        raise ValueError("there are no scenes to show; give at least one")
    if max_points < 1:
        raise ValueError(f"max_points is {max_points}; accepted is 1 or more")
    names = [str(i) for i in range(len(scenes))] if step_names is None else list(step_names)
    if len(names) != len(scenes):
        raise ValueError(f"there are {len(names)} step_names for {len(scenes)} scenes; give one for each")
    with torch.no_grad():
        cameras = checked_cameras(scenes[-1].cameras)
        steps, notices = [], []
        for each in scenes:
            step, said = _shown(each, max_gaussians, max_points, str(path))
            steps.append(step)
            notices += said
        center, radius = _frame(steps[-1], cameras)
        blocks = Blocks()
        description = {
            "steps": [_parts(step, center, radius, blocks) for step in steps],
            "stepNames": names,
            "radius": radius,
            **described_cameras(cameras, center, scenes[-1].names),
            "frusta": _frusta(scenes[-1], radius, blocks),
            "notices": list(dict.fromkeys(notices)),
            "lit": any(step.mesh is not None and _is_lit(step.mesh) for step in steps),
            "confident": any(step.points is not None and step.points.confidence is not None for step in steps),
        }
    write_viewer_page(path, title, description, blocks, overwrite)


def _shown(scene: Scene, max_gaussians: int, max_points: int, name: str) -> tuple[Scene, list[str]]:
    """What a page shows of a scene, on the CPU, and what it says about that.

    Raises:
        ValueError: if there is nothing to show, or it is unusable.
    """
    gaussians, mesh, points, notices = scene.gaussians, scene.mesh, scene.points, []
    if gaussians is not None:
        gaussians, notices = shown_gaussians(gaussians, max_gaussians, name)
    if mesh is not None:
        mesh = mesh.to("cpu").validate()
    if points is None and scene.depths is not None and (scene.depths > 0).any():
        points = scene.point_cloud()
    if points is not None and len(points):
        if not points.positions.isfinite().all():
            raise ValueError("the points hold NaN or infinity; accepted are finite numbers")
        if len(points) > max_points:
            text = f"{max_points:,} of {len(points):,} points, chosen at random"
            warnings.warn(f"{name} shows {text}; give max_points={len(points)} to keep all", stacklevel=3)
            notices = [*notices, f"These are {text}."]
            points = _chosen(points, torch.randperm(len(points), generator=_generator())[:max_points].sort().values)
    else:
        points = None
    if gaussians is None and mesh is None and points is None and len(scene) == 0:
        raise ValueError("the scene is empty: it has no Gaussians, no mesh, no points, no depth and no cameras")
    return Scene(scene.cameras, points=points, gaussians=gaussians, mesh=mesh), notices


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _chosen(points: PointCloud, index: Tensor) -> PointCloud:
    values = (points.positions, points.colors, points.confidence)
    return PointCloud(*(None if value is None else value[index.to(value.device)] for value in values))


def _frame(scene: Scene, cameras: Any) -> tuple[Float[Tensor, "3"], float]:
    """What the page's world has its origin at, and how far the scene reaches from there."""
    extents = torch.zeros(())
    if scene.gaussians is not None:
        places, extents = scene.gaussians.means, scene.gaussians.scales.amax(-1)
    elif scene.mesh is not None:
        places = scene.mesh.vertices
    elif scene.points is not None:
        places = scene.points.positions
    else:
        places = cameras.centers
    places = places.detach().double().cpu()
    center = places.median(0).values if scene.mesh is None else (places.amin(0) + places.amax(0)) / 2
    return center, framing_radius((places - center).norm(dim=-1) + extents.double().cpu())


def _parts(scene: Scene, center: Float[Tensor, "3"], radius: float, blocks: Blocks) -> dict[str, Any]:
    """The parts of one step."""
    parts = {}
    if scene.gaussians is not None:
        parts["gaussians"] = gaussian_part(centered(scene.gaussians, center), blocks)
    if scene.mesh is not None:
        mesh = replace(scene.mesh, vertices=(scene.mesh.vertices.double() - center).float())
        parts["mesh"] = mesh_part(mesh, blocks)
    if scene.points is not None:
        moved = (scene.points.positions.detach().double().cpu() - center).float()
        size = POINT_SIZE * radius * math.sqrt(math.pi / len(scene.points))
        parts["points"] = point_part(replace(scene.points, positions=moved), size, blocks)
    return parts


def _frusta(scene: Scene, radius: float, blocks: Blocks) -> dict[str, Any] | None:
    """The pyramids of the scene's cameras."""
    if len(scene) == 0:
        return None
    length = FRUSTUM_OF_RADIUS * radius
    if len(scene) > 1:
        centers = scene.cameras.centers.detach().double().cpu()
        apart = torch.cdist(centers, centers).fill_diagonal_(math.inf).amin(1).median()
        length = min(length, FRUSTUM_OF_DISTANCE * float(apart)) if apart > 0 else length
    few = len(scene) <= MOST_PHOTOS
    depths = None if scene.depths is None or not few else _pictured(scene.depths.detach().float().cpu())
    return frusta_part(len(scene), length, scene.images if few else None, depths, blocks)


def _pictured(depths: Float[Tensor, "views 1 height width"]) -> Float[Tensor, "views 3 height width"]:
    """Depth as grey on a logarithmic scale, white for the nearest 2 % of all maps and black where it is not known."""
    known = depths > 0
    if not known.any():
        return depths.expand(-1, 3, -1, -1)
    logarithms = depths.clamp(min=1e-12).log()
    near, far = np.quantile(logarithms[known].numpy(), [0.02, 0.98])
    nearness = (1 - (logarithms - near) / max(far - near, 1e-6)).clamp(0, 1)
    return (torch.lerp(torch.full_like(nearness, 0.15), torch.ones(()), nearness) * known).expand(-1, 3, -1, -1)


def _is_lit(mesh: Mesh) -> bool:
    """Whether a mesh is shown under a light: colours of photos have theirs already."""
    return mesh.material is not None or mesh.vertex_colors is None
