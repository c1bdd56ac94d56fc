"""The levels of the U-Net, of diffusers' residual blocks and Era3D's transformers; and the camera regressors."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from jaxtyping import Float
from torch import Tensor, nn

from .attention_era3d import Era3DTransformer, Prompts


MakeResnet = Callable[[int, int], ResnetBlock2D]
MakeTransformer = Callable[[], Era3DTransformer]


class DownBlock(nn.Module):
    """Residual blocks, each followed by a transformer on levels that have them, then halving.

    Args:
        resnets: the residual blocks.
        transformers: as many, or none.
        downsample: channels of the halving, or None on the last level.
    """

    def __init__(self, resnets: Iterable[nn.Module], transformers: Iterable[nn.Module], downsample: int | None):
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(transformers)
        layers = [] if downsample is None else [Downsample2D(downsample, use_conv=True, name="op")]
        self.downsamplers = nn.ModuleList(layers)

    def forward(self, maps: Tensor, embedding: Tensor, prompts: Prompts) -> tuple[Tensor, list[Tensor]]:
        """The maps after the level, and what its counterpart on the way up gets."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            maps = resnet(maps, embedding)
            if self.attentions:
                maps = self.attentions[i](maps, prompts)
            skips.append(maps)
        for layer in self.downsamplers:
            maps = layer(maps)
            skips.append(maps)
        return maps, skips


class MidBlock(nn.Module):
    """A residual block, a transformer, a residual block."""

    def __init__(self, resnets: Iterable[nn.Module], transformer: nn.Module):
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList([transformer])

    def forward(self, maps: Tensor, embedding: Tensor, prompts: Prompts) -> Tensor:
        maps = self.attentions[0](self.resnets[0](maps, embedding), prompts)
        return self.resnets[1](maps, embedding)


class UpBlock(nn.Module):
    """Residual blocks that take in skipped maps, each followed by a transformer where there are some; then doubling.

    Args:
        resnets: the residual blocks.
        transformers: as many, or none.
        upsample: channels of the doubling, or None on the last level.
    """

    def __init__(self, resnets: Iterable[nn.Module], transformers: Iterable[nn.Module], upsample: int | None):
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(transformers)
        self.upsamplers = nn.ModuleList([] if upsample is None else [Upsample2D(upsample, use_conv=True)])

    def forward(self, maps: Tensor, skips: list[Tensor], embedding: Tensor, prompts: Prompts) -> Tensor:
        """The maps after the level; `skips` in the order in which they were made."""
        for i, (resnet, skip) in enumerate(zip(self.resnets, reversed(skips), strict=True)):
            maps = resnet(torch.cat([maps, skip], dim=1), embedding)
            if self.attentions:
                maps = self.attentions[i](maps, prompts)
        for layer in self.upsamplers:
            maps = layer(maps)
        return maps


class RegressorBlock(nn.Module):
    """Two linear layers around SiLU, added and passed through SiLU."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear1 = nn.Linear(dim, dim)
        self.linear2 = nn.Linear(dim, dim)

    def forward(self, features: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return F.silu(features + self.linear2(F.silu(self.linear1(features))))


class CameraRegressor(nn.Module):
    """One number of the input camera from features of a view in both domains.

    Args:
        input_dim: width of the features.
        dim: width inside.
        num_blocks: residual blocks.
    """

    def __init__(self, input_dim: int, dim: int, num_blocks: int):
        super().__init__()
        self.linear_in = nn.Sequential(nn.Linear(input_dim, dim), nn.SiLU())
        self.blocks = nn.ModuleList(RegressorBlock(dim) for _ in range(num_blocks))
        self.linear_out = nn.Linear(dim, 1)

    def forward(self, features: Float[Tensor, "batch input_dim"]) -> Float[Tensor, "batch 1"]:
        features = self.linear_in(features)
        for block in self.blocks:
            features = block(features)
        return self.linear_out(features)
