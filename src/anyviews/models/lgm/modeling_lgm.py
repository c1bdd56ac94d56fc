"""LGM: four posed images of an object to 3D Gaussians, in one pass.

Source: "LGM: Large Multi-View Gaussian Model for High-Resolution 3D Content Creation" (arXiv 2402.05054).
Deviations and open choices are listed in docs/methods/mvboost.md.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...gaussians import Gaussians
from ..strict_loading import StrictLoadingMixin
from .configuration_lgm import LGMConfig
from .layers_lgm import LGMUNet, float32_convolution
from .lora_lgm import LGMLoraMixin


# Colour (3), moment (3) and direction (3) of the pixel's ray.
INPUT_CHANNELS = 9

# Position, opacity, scale, rotation and colour of a Gaussian.
GAUSSIAN_CHANNELS = (3, 1, 3, 4, 3)
GAUSSIAN_SCALE = 0.1

# Of the last layer of a fresh model: opacities of 0.23, scales of 0.026, no turn, grey.
FRESH_BIAS = (0.0, 0.0, 0.0, -1.2, -1.2, -1.2, -1.2, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@no_type_check  # a ModelOutput may also be made of one dictionary, as offloading does
@dataclass
class LGMOutput(ModelOutput):
    """What the network says about an object.

    Args:
        gaussians: of batch shape [batch], one per pixel of the maps, views one after the other, rows from the top.
        maps: [batch, views, 14, splat_size, splat_size], what `gaussians_from_maps` takes.
    """

    gaussians: Gaussians | None = None
    maps: Float[Tensor, "batch views 14 size size"] | None = None


class LGMModel(LGMLoraMixin, StrictLoadingMixin, PreTrainedModel):
    """3D Gaussians of an object from posed images of it; weights have the names of the authors' checkpoints."""

    config: LGMConfig
    config_class = LGMConfig
    base_model_prefix = "lgm"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["LGMResidualBlock", "LGMCrossViewAttention"]
    # 8 bits of precision would move every Gaussian by up to a hundredth of the object
    _keep_in_fp32_modules_strict = [r"^unet\.conv_out\.", r"^conv\."]  # patterns, found anywhere in a name
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: LGMConfig):
        super().__init__(config)
        self.unet = LGMUNet(config, INPUT_CHANNELS, sum(GAUSSIAN_CHANNELS))
        self.conv = nn.Conv2d(sum(GAUSSIAN_CHANNELS), sum(GAUSSIAN_CHANNELS), 1)
        self.post_init()

    @classmethod
    def from_size(cls, size: str, **overrides) -> "LGMModel":
        """A randomly initialised model of size "micro", "tiny", "small" or "big", with any config field overridden."""
        return cls(LGMConfig.from_size(size, **overrides))

    def forward(
        self, pixel_values: Float[Tensor, "batch views 9 height width"], return_dict: bool = True
    ) -> LGMOutput | tuple:
        """Predict the Gaussians of each object.

        Args:
            pixel_values: normalised images with the moments and directions of their rays, from `prepare_images`.
            return_dict: whether to return an `LGMOutput`.

        Raises:
            ValueError: if there are too few or too many views, or they are of the wrong size.
        """
        views, size = self.config.num_views, self.config.input_size
        if tuple(pixel_values.shape[1:]) != (views, INPUT_CHANNELS, size, size):
            raise ValueError(
                f"pixel_values have shape {tuple(pixel_values.shape)}; accepted is (batch, {views}, {INPUT_CHANNELS}, "
                f"{size}, {size}), as prepare_images(images, cameras, size={size}) makes them"
            )
        maps = self.unet(pixel_values.to(self.unet.conv_in.weight.dtype).flatten(0, 1))
        maps = float32_convolution(self.conv, maps).unflatten(0, (-1, views))
        if self.config.anchor == "rays":
            maps = torch.cat([maps[:, :, :3] + self._anchors(pixel_values), maps[:, :, 3:]], dim=2)
        output = LGMOutput(gaussians_from_maps(maps), maps)
        return output if return_dict else output.to_tuple()

    def _anchors(self, pixel_values: Tensor) -> Tensor:
        """The points nearest to the origin on the rays of the maps' pixels [batch, views, 3, size, size]."""
        size = self.config.splat_size
        moments, directions = (
            F.interpolate(part.float().flatten(0, 1), (size, size), mode="bilinear", antialias=True)
            for part in pixel_values[:, :, 3:].split(3, dim=2)
        )
        # of a unit direction; means over pixels are a little shorter
        nearest = torch.linalg.cross(directions, moments, dim=1) / directions.square().sum(1, keepdim=True)
        return nearest.unflatten(0, pixel_values.shape[:2])

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As torch initialises them; but a fresh model gives small, faint Gaussians: large ones hide each other."""
        if isinstance(module, nn.Linear | nn.Conv2d):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)
            if module is self.conv:
                init.copy_(module.bias, torch.tensor(FRESH_BIAS))
        elif isinstance(module, nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


def gaussians_from_maps(maps: Float[Tensor, "*batch views 14 height width"]) -> Gaussians:
    """The Gaussians [*batch] that maps of the network mean (spec B.4), views, then rows, then columns.

    Positions are clamped to [-1, 1]; scales are positive, colours and opacities in [0, 1], quaternions of length 1.
    """
    values = maps.movedim(-3, -1).flatten(-4, -2)  # [*batch, views * height * width, 14]
    means, opacities, scales, rotations, colors = values.split(GAUSSIAN_CHANNELS, dim=-1)
    return Gaussians.from_colors(
        means.clamp(-1, 1),
        F.normalize(rotations, dim=-1),
        GAUSSIAN_SCALE * F.softplus(scales),
        opacities[..., 0].sigmoid(),
        0.5 * colors.tanh() + 0.5,
    )
