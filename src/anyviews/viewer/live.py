"""A live viewer in the browser, by viser: the steps of a scene, with switches and sliders for what is seen of it."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..formats.gaussian_html import centered
from ..formats.glb import write_glb
from ..formats.image_folder import to_uint8
from ..formats.shown_scene import ShownScene, centered_mesh, centered_points
from ..formats.viewer_page import described_cameras
from ..formats.viewer_parts import GRAY, thumbnails
from ..gaussians import Gaussians
from ..geometry.quaternions import matrix_to_quaternion
from ..mesh import Mesh
from ..scene import PointCloud


if TYPE_CHECKING:
    import viser

KINDS = ("gaussians", "mesh", "points")
# Thickness of a pyramid's edges, in its lengths.
EDGE = 0.02


class LiveViewer:
    """A scene in a running server.

    Args:
        server: of viser.
        shown: the scene.
        step_names: of its steps.

    Attributes:
        nodes: what is in the scene, by step and kind, and "cameras".
        controls: switches and sliders by name: "step", kinds of what there is, "surest", "size", "cameras", "depth".
    """

    def __init__(self, server: "viser.ViserServer", shown: ShownScene, step_names: tuple[str, ...]):
        self.server, self.shown, self.step_names = server, shown, step_names
        self.nodes: dict[Any, Any] = {}
        self.controls: dict[str, Any] = {}
        description = described_cameras(shown.cameras, shown.center, shown.names)
        self.up = description["up"] or [0.0, 1.0, 0.0]
        server.scene.set_up_direction(tuple(self.up))
        self._add_controls()
        self._add_cameras()
        self._look()
        for step in range(len(shown.steps)):
            self._add_step(step)
        self.update()

    def update(self) -> None:
        """Show what the controls say."""
        step = self._value("step", len(self.shown.steps) - 1)
        for key, node in self.nodes.items():
            if key != "cameras":
                node.visible = key[0] == step and self._value(key[1], True)
        for node in self.nodes.get("cameras", ()):
            node.visible = self._value("cameras", True)
        if "step" in self.controls:
            self.controls["step name"].content = self.step_names[step]

    def _value(self, name: str, default: Any) -> Any:
        return self.controls[name].value if name in self.controls else default

    def _add_controls(self) -> None:
        gui, shown = self.server.gui, self.shown
        for notice in shown.notices:
            gui.add_markdown(notice)
        if len(shown.steps) > 1:
            last = len(shown.steps) - 1
            self._add("step", gui.add_slider("Step", 0, last, 1, last), self.update)
            self.controls["step name"] = gui.add_markdown("")
        kinds = [kind for kind in KINDS if any(getattr(step, kind) is not None for step in shown.steps)]
        for kind in kinds if len(kinds) > 1 else ():
            # the first kind that there is, and others that steps have in its place
            alone = any(getattr(step, kinds[0]) is None and getattr(step, kind) is not None for step in shown.steps)
            self._add(kind, gui.add_checkbox(kind.capitalize(), alone or kind == kinds[0]), self.update)
        if shown.confident:
            self._add("surest", gui.add_slider("Surest points", 0.0, 1.0, 0.01, 1.0), self._redraw_points)
        if "points" in kinds:
            self._add("size", gui.add_slider("Size of points", 0.05, 3.0, 0.05, 1.0), self._redraw_points)
        if shown.cameras is not None:
            self._add("cameras", gui.add_checkbox("Cameras", True), self.update)
        if shown.images is not None and shown.depths is not None:
            self._add("depth", gui.add_checkbox("Depth in the cameras", False), self._change_pictures)

    def _add(self, name: str, control: Any, action: Any) -> None:
        self.controls[name] = control
        control.on_update(lambda _: action())

    def _add_step(self, step: int) -> None:
        scene = self.shown.steps[step]
        if scene.gaussians is not None:
            self.nodes[step, "gaussians"] = self._gaussians(f"/step{step}/gaussians", scene.gaussians)
        if scene.mesh is not None:
            self.nodes[step, "mesh"] = self._mesh(f"/step{step}/mesh", scene.mesh)
        if scene.points is not None:
            self.nodes[step, "points"] = self._points(f"/step{step}/points", scene.points)

    def _gaussians(self, name: str, gaussians: Gaussians) -> Any:
        gaussians = centered(gaussians, self.shown.center)
        return self.server.scene.add_gaussian_splats(
            name,
            centers=gaussians.means.numpy(),
            covariances=gaussians.covariances().numpy(),
            rgbs=gaussians.colors.clamp(0, 1).numpy(),
            opacities=gaussians.opacities[:, None].numpy(),
        )

    def _mesh(self, name: str, mesh: Mesh) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "mesh.glb"
            write_glb(centered_mesh(mesh, self.shown.center), file)
            return self.server.scene.add_glb(name, file.read_bytes())

    def _points(self, name: str, points: PointCloud) -> Any:
        points = centered_points(points, self.shown.center)
        positions = points.positions.numpy()
        colors = np.full((len(points), 3), GRAY, np.uint8) if points.colors is None else to_uint8(points.colors)
        if points.confidence is not None:
            order = points.confidence.argsort(descending=True, stable=True).numpy()
            order = order[: max(1, round(self._value("surest", 1.0) * len(points)))]
            positions, colors = positions[order], colors[order]
        return self.server.scene.add_point_cloud(
            name,
            positions,
            colors,
            point_size=self.shown.point_size(points) * self._value("size", 1.0),
            point_shape="circle",
            point_shading="flat",
            precision="float32",
        )

    def _redraw_points(self) -> None:
        with self.server.atomic():
            for step, scene in enumerate(self.shown.steps):
                if scene.points is not None:
                    self.nodes[step, "points"] = self._points(f"/step{step}/points", scene.points)
            self.update()

    def _add_cameras(self) -> None:
        shown = self.shown
        if shown.cameras is None:
            return
        pictures = self._pictures()
        quaternions = matrix_to_quaternion(shown.cameras.rotation)
        self.nodes["cameras"] = [
            self.server.scene.add_camera_frustum(
                f"/cameras/{i}",
                fov=2 * float(torch.atan(camera.height / 2 / camera.intrinsics[1, 1])),
                aspect=camera.width / camera.height,
                scale=shown.frustum_length,
                thickness=EDGE * shown.frustum_length,
                image=None if pictures is None else pictures[i],
                wxyz=tuple(quaternions[i].tolist()),
                position=tuple((camera.centers - shown.center).tolist()),
                color=(47, 109, 181),
            )
            for i, camera in enumerate(shown.cameras)
        ]

    def _pictures(self) -> np.ndarray | None:
        """What the cameras show, [V, H, W, 3]."""
        shown = self.shown
        wanted = shown.depths if self._value("depth", shown.images is None) else shown.images
        return None if wanted is None else to_uint8(thumbnails(wanted).movedim(1, -1))

    def _change_pictures(self) -> None:
        with self.server.atomic():
            for node, picture in zip(self.nodes["cameras"], self._pictures(), strict=True):
                node.image = picture

    def _look(self) -> None:
        """Start behind the first camera, or in front of what has no cameras."""
        initial, radius = self.server.initial_camera, self.shown.radius
        up = np.array(self.up)
        if self.shown.cameras is None:
            # +z is towards the viewer where +y is up, as in glTF
            place, target = np.array([0.0, 0.35, 1.0]) * 2.4 * radius, np.zeros(3)
        else:
            first = self.shown.cameras[0]
            forward = first.rotation[:, 2].numpy()
            place = (first.centers - self.shown.center).numpy() - 3 * self.shown.frustum_length * forward
            target = place + radius * forward
        initial.position, initial.look_at, initial.up = tuple(place), tuple(target), tuple(up)
