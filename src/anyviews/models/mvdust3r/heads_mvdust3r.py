"""Heads of MV-DUSt3R+: points with confidence, and the parameters of one Gaussian per pixel."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import maybe_autocast

from .configuration_mvdust3r import MVDust3rPlusConfig
from .linear_mvdust3r import MVDust3rLinear
from .winograd_mvdust3r import convolve


# Outputs per pixel of the Gaussian head besides its colours.
GAUSSIAN_CHANNELS = {"opacity": 1, "scale": 3, "rotation": 4}


class MVDust3rSkipLayer(GradientCheckpointingLayer):
    """A convolution and its batch normalisation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, activate: bool):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activate = activate

    def forward(self, maps: Float[Tensor, "views channels height width"]) -> tuple[Tensor, Tensor | None]:
        """Convolve and normalise.

        Returns:
            The maps, and in training the mean and variance of the batch, [2, channels]. They are not added to the
            running statistics here, because checkpointing runs this function twice.
        """
        statistics = None
        if self.training:
            statistics = torch.zeros(2, self.norm.num_features, device=maps.device)
            maps = F.batch_norm(
                self.conv(maps), *statistics, self.norm.weight, self.norm.bias, True, momentum=1.0, eps=self.norm.eps
            )
        elif self.conv.weight.is_meta:  # offloaded: weights come only when the layer itself is called
            maps = self.norm(self.conv(maps))
        else:
            weight, bias = self._folded()
            if torch.is_grad_enabled():
                maps = F.conv2d(maps, weight, bias, padding=self.conv.padding)
            else:
                maps = convolve(maps, weight, bias)
        return F.selu(maps, inplace=True) if self.activate else maps, statistics

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Weights and biases of the one convolution that does both in evaluation."""
        gain = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        bias = (self.conv.bias - self.norm.running_mean) * gain + self.norm.bias
        dtype = self.conv.weight.dtype  # the normalisation may be in float32
        return (self.conv.weight * gain[:, None, None, None]).to(dtype), bias.to(dtype)


class MVDust3rSkip(nn.Module):
    """Convolutions over the image and the raw points, at full resolution."""

    def __init__(self, config: MVDust3rPlusConfig):
        super().__init__()
        width = config.skip_hidden_size
        self.layers = nn.ModuleList(
            [
                MVDust3rSkipLayer(6, width, 3, activate=True),
                MVDust3rSkipLayer(width, width, 5, activate=True),
                MVDust3rSkipLayer(width, width, 5, activate=True),
                MVDust3rSkipLayer(width, 3, 3, activate=False),
            ]
        )
        self.layers[-1].conv.starts_at_zero = True

    def forward(self, maps: Float[Tensor, "views 6 height width"]) -> Float[Tensor, "views 3 height width"]:
        maps = maps.to(self.layers[0].conv.weight.dtype, memory_format=torch.channels_last)
        for layer in self.layers:
            maps, statistics = layer(maps)
            if statistics is not None:
                layer.norm.num_batches_tracked += 1
                layer.norm.running_mean.lerp_(statistics[0].to(layer.norm.running_mean), layer.norm.momentum)
                layer.norm.running_var.lerp_(statistics[1].to(layer.norm.running_var), layer.norm.momentum)
        return maps


class MVDust3rPointHead(nn.Module):
    """Points in the frame of the path's reference, and their confidence."""

    def __init__(self, config: MVDust3rPlusConfig):
        super().__init__()
        self.config = config
        self.projection = MVDust3rLinear(config.decoder_hidden_size, 4 * config.patch_size**2)
        self.skip = MVDust3rSkip(config) if config.use_skip else None

    def forward(
        self,
        tokens: Float[Tensor, "views tokens channels"],
        pixel_values: Float[Tensor, "views 3 height width"],
    ) -> dict[str, Tensor]:
        """Predict.

        Args:
            tokens: decoded, normalised.
            pixel_values: of the same views, in [-1, 1].

        Returns:
            points [views, height, width, 3] and confidence [views, height, width], in float32.
        """
        raw = _to_pixels(_without_autocast(self.projection, tokens), pixel_values, self.config.patch_size)
        xyz, confidence = raw[:, :3], raw[:, 3]
        if self.skip is not None:
            refined = self.skip(torch.cat([pixel_values.to(xyz), xyz], dim=1))
            xyz = xyz + self.config.skip_scale * refined.float()
        return {
            "points": activate_points(xyz.permute(0, 2, 3, 1)),
            "confidence": activate_confidence(confidence, self.config.confidence_min, self.config.confidence_max),
        }


class MVDust3rGaussianMLP(nn.Module):
    """Two linear layers without biases and a ReLU between."""

    def __init__(self, width: int, hidden: int, out: int):
        super().__init__()
        self.up = MVDust3rLinear(width, hidden, bias=False)
        self.down = MVDust3rLinear(hidden, out, bias=False)

    def forward(self, tokens: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch out"]:
        return _without_autocast(self.down, F.relu(self.up(tokens)))


class MVDust3rGaussianHead(nn.Module):
    """Opacity, scale, rotation and, if asked for, colour of one Gaussian per pixel."""

    def __init__(self, config: MVDust3rPlusConfig):
        super().__init__()
        self.config = config
        width, pixels = config.decoder_hidden_size, config.patch_size**2
        channels = dict(GAUSSIAN_CHANNELS)
        if config.gaussian_colors == "head":
            channels["color"] = 3 * (config.harmonics_degree + 1) ** 2
        self.norm = nn.LayerNorm(width, eps=config.gaussian_layer_norm_eps)
        self.mlps = nn.ModuleDict(
            {name: MVDust3rGaussianMLP(width, config.gaussian_hidden_size, n * pixels) for name, n in channels.items()}
        )

    def forward(
        self,
        tokens: Float[Tensor, "views tokens channels"],
        pixel_values: Float[Tensor, "views 3 height width"],
    ) -> dict[str, Tensor]:
        """Predict; the shapes are [views, height, width] and [views, height, width, channels], in float32."""
        tokens = self.norm(tokens.to(self.norm.weight.dtype))

        def maps(name: str) -> Tensor:
            raw = _to_pixels(self.mlps[name](tokens), pixel_values, self.config.patch_size)
            return raw.permute(0, 2, 3, 1)  # [views, height, width, channels]

        outputs = {
            "opacities": maps("opacity")[..., 0].sigmoid(),
            "scales": self.config.gaussian_scale * maps("scale"),
            "rotations": F.normalize(maps("rotation"), dim=-1, eps=1e-5),
        }
        if self.config.gaussian_colors == "head":
            outputs["harmonics"] = maps("color")
        return outputs


def activate_points(xyz: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Raw to final points: the distance from the origin d becomes exp(d) - 1."""
    distance = xyz.norm(dim=-1, keepdim=True)
    return xyz / distance.clamp(min=1e-8) * torch.expm1(distance)


def activate_confidence(raw: Float[Tensor, "*batch"], lowest: float, highest: float) -> Float[Tensor, "*batch"]:
    """Raw to final confidence: lowest + exp, up to highest; the bound comes first, for the gradient of exp's sake."""
    return lowest + raw.clamp(max=math.log(highest - lowest)).exp()


def _without_autocast(linear: MVDust3rLinear, tokens: Tensor) -> Tensor:
    """The layer in the precision of its weights: exponentials follow, in which rounding grows."""
    with maybe_autocast(tokens.device.type, enabled=False):
        return linear(tokens.to(linear.weight.dtype)).float()


def _to_pixels(tokens: Tensor, like: Tensor, patch_size: int) -> Tensor:
    """[views, tokens, channels * patch_size**2] to [views, channels, height, width] of the image."""
    grid = (like.shape[-2] // patch_size, like.shape[-1] // patch_size)
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, grid), patch_size)
