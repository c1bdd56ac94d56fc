"""What MVGDPipeline returns."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.scene import Scene


@dataclass
class MVGDPipelineOutput(BaseOutput):
    """Novel views of T target cameras.

    Args:
        images: T PIL images, or array [T, H, W, 3], or tensor [T, 3, H, W], sRGB in [0, 1]; None without task "rgb".
            For output_type "latent" the undecoded states [ensemble_size, tokens of all targets, channels].
        depths: [T, 1, H, W] z-depth in the unit of the given cameras (array [T, H, W] for output_type "pil" and
            "np"); None without task "depth".
        depth_uncertainty: like depths, standard deviation of log depth over the ensemble; None for one member.
        image_uncertainty: like depths, standard deviation of colour over the ensemble; None for one member.
        scene_scale: [T], unit of the model in units of the given cameras.
        saturated_depth: [T], share of pixels at the far end of the depth range; if it is big, enlarge scene_scale.
        cameras: T cameras of the generated images, in their pixels.
    """

    images: list[Image.Image] | np.ndarray | Tensor | None
    depths: np.ndarray | Tensor | None
    depth_uncertainty: np.ndarray | Tensor | None
    image_uncertainty: np.ndarray | Tensor | None
    scene_scale: Tensor
    saturated_depth: Tensor
    cameras: Cameras

    def to_scene(self) -> Scene:
        """The result as a `Scene` for the exporters; depth is in the unit of the given cameras ("aligned")."""
        return Scene(
            self.cameras,
            images=_as_maps(self.images),
            depths=_as_maps(self.depths),
            depth_uncertainty=_as_maps(self.depth_uncertainty),
            scale="aligned",
        )


def as_output(maps: Tensor | None, output_type: str) -> list[Image.Image] | np.ndarray | Tensor | None:
    """Maps [T, C, H, W] as asked for; only colour becomes PIL images, an 8-bit depth map would lose the depth."""
    if maps is None or output_type == "pt":
        return maps
    array = maps.movedim(1, -1).numpy()
    if maps.shape[1] == 1:
        return array[..., 0]
    if output_type == "np":
        return array
    return [Image.fromarray(image) for image in (array * 255).round().astype(np.uint8)]


def _as_maps(values: list[Image.Image] | np.ndarray | Tensor | None) -> Tensor | None:
    """The inverse of `as_output`."""
    if values is None or isinstance(values, Tensor):
        return values
    if isinstance(values, list):
        values = np.stack([np.asarray(image) for image in values]).astype(np.float32) / 255
    maps = torch.from_numpy(values)
    return maps[:, None] if maps.ndim == 3 else maps.movedim(-1, 1)
