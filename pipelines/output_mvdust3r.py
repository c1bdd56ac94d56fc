"""What MVDust3rPlusPipeline returns."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.gaussians import Gaussians
from anyviews.models.mvdust3r import MVDust3rPlusImageProcessor
from anyviews.scene import PointCloud, Scale, Scene
from anyviews.views import Views


@dataclass
class MVDust3rPlusPipelineOutput(BaseOutput):
    """A scene of V photos. Maps have the size of the network's images; `in_photo` gives them in a photo's own pixels.

    The world is that of the given cameras where they had poses, else the camera frame of the first photo, in an
    arbitrary unit.

    Args:
        points: [V, H, W, 3], the point of every pixel in the world (array for output_type "np").
        confidence: [V, H, W], larger is surer (array for "np").
        depths: [V, 1, H, W], z-depth in each photo's camera, 0 where there is none that is sure (array [V, H, W] for
            "np").
        kept: [V, H, W], which pixels are sure enough to be in the scene.
        cameras: V cameras in pixels of the original photos, EXIF rotation applied.
        gaussians: of the kept pixels, or None where the model has no Gaussian heads.
        views: the network's images with their names, their record of crop and resize, and the cameras in their pixels.
        references: the photos that served as references; the first of each pass gave the frame of its points.
        found: [V], whether a pose was found; photos without one have no depth, and their camera is at the origin.
        pose_errors: [V], median distance in pixels of the network's images between points and their pixels.
        scale: "aligned" where poses were given, else "relative".
    """

    points: np.ndarray | Tensor
    confidence: np.ndarray | Tensor
    depths: np.ndarray | Tensor
    kept: Tensor
    cameras: Cameras
    gaussians: Gaussians | None
    views: Views
    references: tuple[tuple[int, ...], ...]
    found: Tensor
    pose_errors: Tensor
    scale: Scale

    @property
    def focal_lengths(self) -> Tensor:
        """[V, 2], horizontal and vertical, in pixels of the original photos."""
        return self.cameras.intrinsics.diagonal(dim1=-2, dim2=-1)[:, :2]

    def point_cloud(self) -> PointCloud:
        """The points of all kept pixels, in their colours."""
        points, confidence = torch.as_tensor(self.points), torch.as_tensor(self.confidence)
        colors = self.views.images.movedim(1, -1)
        return PointCloud(points[self.kept], colors[self.kept], confidence[self.kept])

    def in_photo(self, index: int) -> dict[str, Tensor]:
        """Maps of one photo in its own pixels: the nearest value of the network's, 0 where it has seen nothing.

        Returns:
            "points" [h, w, 3], "confidence" [h, w], "depth" [1, h, w] and "kept" [h, w].
        """
        window, processor = slice(index, index + 1), MVDust3rPlusImageProcessor()
        depths = torch.as_tensor(self.depths).reshape(len(self.views), 1, self.views.height, self.views.width)
        maps = [
            torch.as_tensor(self.points)[window].movedim(-1, 1),
            torch.as_tensor(self.confidence)[window, None],
            depths[window],
            self.kept[window, None].float(),
        ]
        (maps,) = processor.undo(torch.cat(maps, dim=1), self.views.record[window])
        return {"points": maps[:3].movedim(0, -1), "confidence": maps[3], "depth": maps[4:5], "kept": maps[5] > 0.5}

    def to_scene(self, photos: Views | None = None) -> Scene:
        """The result as a `Scene` for the exporters.

        Args:
            photos: the original photos, if they are all of one size: the scene then has them, with cameras and depth
                in their pixels. Otherwise it has the network's images.

        Raises:
            ValueError: if these are not the photos of this result.
        """
        depths = torch.as_tensor(self.depths).reshape(len(self.views), 1, self.views.height, self.views.width)
        images, cameras = self.views.images, self.views.cameras
        if photos is not None:
            sizes = self.cameras.image_sizes.unique(dim=0)
            if len(photos) != len(self.views) or sizes.tolist() != [[photos.height, photos.width]]:
                raise ValueError(
                    f"{len(photos)} photos of {photos.height}x{photos.width} (height x width) were given, but the "
                    f"result is of {len(self.views)} photos of {sizes.tolist()}; leave them out to get the network's"
                    " images"
                )
            images, cameras = photos.images, self.cameras
            depths = torch.stack([self.in_photo(index)["depth"] for index in range(len(photos))])
        return Scene(
            cameras,
            images,
            depths,
            points=self.point_cloud(),
            gaussians=self.gaussians,
            names=self.views.names,
            scale=self.scale,
        )
