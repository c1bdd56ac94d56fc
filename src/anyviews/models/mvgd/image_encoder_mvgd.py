"""Image features of the conditioning views at a quarter of the resolution."""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from ..strict_loading import StrictLoadingMixin


# SAM's pixel statistics on a scale of 0 to 1
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


class ConvStem(nn.Module):
    """Two strided convolutions and a residual one: the small encoder for tests and little compute."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels // 2, 3, stride=2, padding=1)
        self.conv_down = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views channels rows columns"]:
        hidden = F.gelu(self.conv_down(F.gelu(self.conv_in(images))))
        return hidden + self.conv_out(hidden)


class MVGDImageEncoder(StrictLoadingMixin, ModelMixin, ConfigMixin):
    """Encodes photos into [V, channels, H/4, W/4] features.

    Args:
        encoder_type: "efficientvit_l2" (the paper's; stages of stride 4, 8 and 16, upsampled and concatenated) or
            "conv_stem".
        channels: feature channels of the conv stem; efficientvit_l2 has 448.
        norm_eps: epsilon of the batch norms of efficientvit_l2, which depends on where its weights come from.
    """

    @register_to_config
    def __init__(self, encoder_type: str = "efficientvit_l2", channels: int = 448, norm_eps: float = 1e-6):
        super().__init__()
        if encoder_type == "conv_stem":
            self.backbone = ConvStem(channels)
        elif encoder_type == "efficientvit_l2":
            from .efficientvit import EfficientViTL2

            self.backbone = EfficientViTL2(norm_eps=norm_eps)
            if channels != 448:
                raise ValueError(f"efficientvit_l2 has 448 feature channels, found channels={channels}")
        else:
            raise ValueError(f"encoder_type={encoder_type!r} is not one of efficientvit_l2, conv_stem")

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views channels rows columns"]:
        """Features of images in [0, 1]."""
        normalized = (images - images.new_tensor(PIXEL_MEAN)[:, None, None]) / images.new_tensor(PIXEL_STD)[
            :, None, None
        ]
        features = self.backbone(normalized)
        if self.config.encoder_type == "conv_stem":
            return features
        size = features[0].shape[-2:]
        upsampled = [F.interpolate(f, size, mode="bilinear", align_corners=False) for f in features[1:]]
        return torch.cat([features[0], *upsampled], dim=1)
