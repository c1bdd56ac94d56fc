"""Scene: what every method returns, and what every exporter takes."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .cameras import Cameras
from .gaussians import Gaussians
from .geometry.rays import pixel_centers
from .mesh import Mesh


Scale = Literal["relative", "aligned", "metric"]


@dataclass(frozen=True)
class PointCloud:
    """Coloured points.

    Args:
        positions: [N, 3] in world units.
        colors: [N, 3], sRGB in [0, 1], or None.
        confidence: [N], larger is surer, or None.
    """

    positions: Float[Tensor, "points 3"]
    colors: Float[Tensor, "points 3"] | None = None
    confidence: Float[Tensor, "points"] | None = None

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Scene:
    """A reconstruction or a set of generated views, in one world frame.

    Args:
        cameras: V cameras of the images and depth maps below.
        images: [V, 3, H, W], sRGB in [0, 1], or None.
        depths: [V, 1, H, W], z-depth in world units, 0 where unknown, or None.
        depth_uncertainty: [V, 1, H, W], standard deviation of the log of depth over samples, or None.
        points: a point cloud in the world frame, or None.
        gaussians: one set of 3D Gaussians in the world frame, or None.
        mesh: a surface in the world frame, or None.
        names: V labels for exports.
        scale: what a world unit means: "relative" (arbitrary), "aligned" (the unit of the given cameras), "metric".
    """

    cameras: Cameras
    images: Float[Tensor, "views 3 height width"] | None = None
    depths: Float[Tensor, "views 1 height width"] | None = None
    depth_uncertainty: Float[Tensor, "views 1 height width"] | None = None
    points: PointCloud | None = None
    gaussians: Gaussians | None = None
    mesh: Mesh | None = None
    names: tuple[str, ...] = ()
    scale: Scale = "relative"

    def __post_init__(self):
        if not self.names:
            object.__setattr__(self, "names", tuple(f"{i:04d}" for i in range(len(self.cameras))))

    def __len__(self) -> int:
        return len(self.cameras)

    def point_cloud(self) -> PointCloud:
        """The scene's points: its own, every pixel with known depth in its image's colour, or its Gaussians' means.

        Raises:
            ValueError: if the scene has no points, no known depth and no Gaussians.
        """
        if self.points is not None:
            return self.points
        if self.depths is None or not (self.depths > 0).any():
            if self.gaussians is not None:
                colors = self.gaussians.colors.clamp(0, 1)
                return PointCloud(self.gaussians.means, colors, self.gaussians.opacities)
            raise ValueError("the scene has no points, no known depth and no Gaussians to make a point cloud of")
        height, width = self.depths.shape[-2:]
        pixels = pixel_centers(height, width, self.cameras.device, self.cameras.dtype).expand(
            len(self), height, width, 2
        )
        positions = self.cameras.unproject(pixels.flatten(1, 2), self.depths.flatten(1))  # [V, H*W, 3]
        known = self.depths.flatten(1) > 0
        colors = None if self.images is None else self.images.flatten(2).mT[known]
        confidence = None
        if self.depth_uncertainty is not None:
            confidence = torch.exp(-self.depth_uncertainty.flatten(1)[known])
        return PointCloud(positions[known], colors, confidence)
