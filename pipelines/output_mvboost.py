"""What MVBoostPipeline returns."""

from dataclasses import dataclass

import numpy as np
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.gaussians import Gaussians
from anyviews.rendering.gaussians import render_on_white
from anyviews.scene import Scene


# Where less than this is covered, a pixel of a render has no depth.
COVERED = 0.5


@dataclass
class MVBoostPipelineOutput(BaseOutput):
    """Gaussians of B objects, and the generated views that they are made of.

    The world is LGM's: +Y up, the object around the origin, the image taken from +Z.

    Args:
        gaussians: of batch shape [B].
        images: generated views of B objects, one after the other: B * V PIL images, array [B * V, H, W, 3] or tensor
            [B * V, 3, H, W], sRGB in [0, 1]; the refined ones where the call refined. They are orthographic.
        normals: normal maps, alike.
        pictures: [B, 3, S, S], the given images as the generator sees them: the object centred on white.
        cameras: V cameras of the views as LGM renders them, in perspective.
        unrefined_gaussians: of batch shape [B], before the refinement; None where the call did not refine.
        unrefined_images: like images, before the refinement; None where the call did not refine.
    """

    gaussians: Gaussians
    images: list[Image.Image] | np.ndarray | Tensor
    normals: list[Image.Image] | np.ndarray | Tensor
    pictures: Tensor
    cameras: Cameras
    unrefined_gaussians: Gaussians | None = None
    unrefined_images: list[Image.Image] | np.ndarray | Tensor | None = None

    def __len__(self) -> int:
        """The number of objects."""
        return self.gaussians.batch_shape[0]

    def to_scene(self, index: int = 0, cameras: Cameras | None = None) -> Scene:
        """One object as a `Scene` for the exporters: its Gaussians, with their renders and depth.

        The generated views are left out: they are orthographic, which cameras of a scene cannot say.

        Args:
            index: of the object.
            cameras: V cameras of the renders; by default those of the views.

        Raises:
            IndexError: if there is no such object.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index={index}; the output has {len(self)} objects, counted from 0")
        gaussians = self.gaussians[index]
        cameras = (self.cameras if cameras is None else cameras).to(gaussians.device, gaussians.dtype)
        rendered = render_on_white(gaussians, cameras)
        depths = rendered.depths * (rendered.alphas >= COVERED)
        return Scene(cameras, rendered.images.clamp(0, 1), depths, gaussians=gaussians)
