"""A whole scene, or the steps of one, as one HTML page that opens offline: Gaussians, meshes, points and cameras."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..scene import Scene
from .gaussian_html import centered
from .shown_scene import ShownScene, centered_mesh, centered_points, show_scenes
from .viewer_page import Blocks, described_cameras, viewer_page, write_page
from .viewer_parts import frusta_part, gaussian_part, mesh_part, point_part


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
    shown = show_scenes(scenes, max_gaussians, max_points, str(path))
    write_page(scene_page(shown, title, step_names), path, overwrite)


def scene_page(shown: ShownScene, title: str, step_names: Sequence[str] | None = None) -> str:
    """The HTML of a page that shows a scene, see `write_scene_html`.

    Args:
        shown: the scene.
        title: of the page.
        step_names: of its steps; by default their numbers.

    Raises:
        ValueError: if there are more or fewer names than steps.
    """
    names = [str(i) for i in range(len(shown.steps))] if step_names is None else list(step_names)
    if len(names) != len(shown.steps):
        raise ValueError(f"there are {len(names)} step_names for {len(shown.steps)} scenes; give one for each")
    blocks = Blocks()
    description = {
        "steps": [_parts(step, shown, blocks) for step in shown.steps],
        "stepNames": names,
        "radius": shown.radius,
        **described_cameras(shown.cameras, shown.center, shown.names),
        "frusta": None
        if shown.cameras is None
        else frusta_part(len(shown.cameras), shown.frustum_length, shown.images, shown.depths, blocks),
        "notices": list(shown.notices),
        "lit": shown.lit,
        "confident": shown.confident,
    }
    return viewer_page(title, description, blocks)


@torch.no_grad()
def _parts(step: Scene, shown: ShownScene, blocks: Blocks) -> dict[str, Any]:
    """The parts of one step."""
    parts = {}
    if step.gaussians is not None:
        parts["gaussians"] = gaussian_part(centered(step.gaussians, shown.center), blocks)
    if step.mesh is not None:
        parts["mesh"] = mesh_part(centered_mesh(step.mesh, shown.center), blocks)
    if step.points is not None:
        points = centered_points(step.points, shown.center)
        parts["points"] = point_part(points, shown.point_size(points), blocks)
    return parts
