"""Layers of LGM's U-Net: residual blocks, attention across views, and the levels that they make up.

Names of modules are those of the authors' checkpoints.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_lgm import NORM_GROUPS, LGMConfig


# With more tokens than this, spelt-out attention would keep gigabytes of weights for the backward pass.
MOST_EXPLICIT_TOKENS = 1024

# Their weights for some thousand keys stay in a CPU's cache.
QUERIES_PER_BLOCK = 256


def eager_attention_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float, **kwargs
) -> tuple[Tensor, Tensor]:
    """The attention product spelt out."""
    weights = (query @ key.mT * scaling).softmax(-1)
    return (weights @ value).transpose(1, 2), weights


def blockwise_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """The attention product [batch, tokens, heads, head_dim], some queries of one head at a time; no gradients."""
    batch, heads, tokens, head_dim = query.shape
    attended = query.new_empty(batch, tokens, heads, head_dim)
    for index in range(batch):
        for head in range(heads):
            keys, values = (states[index, head].contiguous() for states in (key, value))
            for start in range(0, tokens, QUERIES_PER_BLOCK):
                block = slice(start, start + QUERIES_PER_BLOCK)
                weights = ((query[index, head, block] * scaling) @ keys.T).softmax(-1)
                attended[index, block, head] = weights @ values
    return attended


def group_norm(channels: int) -> nn.GroupNorm:
    """The normalisation that every layer begins with."""
    return nn.GroupNorm(NORM_GROUPS, channels, eps=1e-5)


class LGMResidualBlock(GradientCheckpointingLayer):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, skip_scale: float):
        super().__init__()
        self.skip_scale = skip_scale
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, maps: Float[Tensor, "images channels height width"]) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(maps)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        shortcut = maps if self.shortcut is None else self.shortcut(maps)
        return (hidden + shortcut) * self.skip_scale


class LGMAttention(nn.Module):
    """All tokens attend to each other; query, key and value come from one projection without bias."""

    is_causal = False

    def __init__(self, config: LGMConfig, channels: int):
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        qkv = self.qkv(tokens).unflatten(-1, (3, self.config.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [batch, heads, tokens, head_dim]
        return self.proj(self._attend(query, key, value).reshape(tokens.shape))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """On the implementation chosen by `attn_implementation`; where SDPA is slow on a CPU, on another instead."""
        implementation, scaling = self.config._attn_implementation, query.shape[-1] ** -0.5
        if implementation == "sdpa" and query.device.type == "cpu":
            if not query.requires_grad and query.dtype == torch.bfloat16:
                return blockwise_attention(query, key, value, scaling)
            if query.requires_grad and query.shape[2] <= MOST_EXPLICIT_TOKENS:
                implementation = "eager"
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        return attend(self, query, key, value, None, scaling=scaling)[0]


class LGMCrossViewAttention(GradientCheckpointingLayer):
    """The pixels of all views of an object attend to each other; nothing but their contents tells them apart."""

    def __init__(self, config: LGMConfig, channels: int):
        super().__init__()
        self.skip_scale, self.num_views = config.skip_scale, config.num_views
        self.norm = group_norm(channels)
        self.attn = LGMAttention(config, channels)

    def forward(self, maps: Float[Tensor, "images channels height width"]) -> Tensor:
        normed = self.norm(maps).unflatten(0, (-1, self.num_views))  # [batch, views, channels, height, width]
        tokens = normed.permute(0, 1, 3, 4, 2).flatten(1, 3)  # views, then rows, then columns
        attended = self.attn(tokens).unflatten(1, (self.num_views, *maps.shape[-2:]))
        attended = attended.permute(0, 1, 4, 2, 3).flatten(0, 1)
        return (attended + maps) * self.skip_scale


def attentions(config: LGMConfig, channels: int, count: int, present: bool) -> nn.ModuleList:
    """Attention after each residual block, or as many empty places, so that the two lists are numbered alike."""
    return nn.ModuleList(LGMCrossViewAttention(config, channels) if present else None for _ in range(count))


class LGMDownBlock(nn.Module):
    """A level on the way down."""

    def __init__(self, config: LGMConfig, in_channels: int, level: int):
        super().__init__()
        channels, count = config.down_channels[level], config.layers_per_block
        widths = [in_channels, *[channels] * (count - 1)]
        self.nets = nn.ModuleList(LGMResidualBlock(width, channels, config.skip_scale) for width in widths)
        self.attns = attentions(config, channels, count, config.down_attention[level])
        last = level == len(config.down_channels) - 1
        self.downsample = None if last else nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, maps: Float[Tensor, "images channels height width"]) -> list[Tensor]:
        """What every layer gives, in order; the last is the level's own output."""
        outputs = []
        for net, attention in zip(self.nets, self.attns, strict=True):
            maps = net(maps)
            maps = maps if attention is None else attention(maps)
            outputs.append(maps)
        if self.downsample is not None:
            outputs.append(self.downsample(maps))
        return outputs


class LGMMidBlock(nn.Module):
    """The middle."""

    def __init__(self, config: LGMConfig):
        super().__init__()
        channels = config.down_channels[-1]
        self.nets = nn.ModuleList(LGMResidualBlock(channels, channels, config.skip_scale) for _ in range(2))
        self.attns = attentions(config, channels, 1, config.mid_attention)

    def forward(self, maps: Float[Tensor, "images channels height width"]) -> Tensor:
        maps = self.nets[0](maps)
        attention = self.attns[0]
        return self.nets[1](maps if attention is None else attention(maps))


class LGMUpBlock(nn.Module):
    """A level on the way up, which takes one skip connection per residual block."""

    def __init__(self, config: LGMConfig, level: int):
        super().__init__()
        down, up, count = config.down_channels, config.up_channels, config.layers_per_block + 1
        channels = up[level]
        widths = [up[max(level - 1, 0)], *[channels] * (count - 1)]
        # the last skip connection of a level comes from the level below it on the way down
        skips = [*[channels] * (count - 1), down[max(-2 - level, -len(down))]]
        self.nets = nn.ModuleList(
            LGMResidualBlock(width + skip, channels, config.skip_scale)
            for width, skip in zip(widths, skips, strict=True)
        )
        self.attns = attentions(config, channels, count, config.up_attention[level])
        self.upsample = None if level == len(up) - 1 else nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Float[Tensor, "images channels height width"], skips: list[Tensor]) -> Tensor:
        """Takes its skip connections off the end of `skips`."""
        for net, attention in zip(self.nets, self.attns, strict=True):
            maps = net(torch.cat([maps, skips.pop()], dim=1))
            maps = maps if attention is None else attention(maps)
        if self.upsample is None:
            return maps
        return self.upsample(F.interpolate(maps, scale_factor=2.0, mode="nearest"))


class LGMUNet(nn.Module):
    """Images with rays to maps of 14 numbers per pixel."""

    def __init__(self, config: LGMConfig, in_channels: int, out_channels: int):
        super().__init__()
        down = config.down_channels
        self.conv_in = nn.Conv2d(in_channels, down[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            LGMDownBlock(config, width, level) for level, width in enumerate([down[0], *down[:-1]])
        )
        self.mid_block = LGMMidBlock(config)
        self.up_blocks = nn.ModuleList(LGMUpBlock(config, level) for level in range(len(config.up_channels)))
        self.norm_out = group_norm(config.up_channels[-1])
        self.conv_out = nn.Conv2d(config.up_channels[-1], out_channels, 3, padding=1)

    def forward(self, maps: Float[Tensor, "images channels height width"]) -> Tensor:
        if not torch.is_grad_enabled():
            # convolutions of a CPU are faster so; torch 2.13 crashes there in the backward pass of normalisations
            maps = maps.contiguous(memory_format=torch.channels_last)
        skips = [self.conv_in(maps)]
        for block in self.down_blocks:
            skips += block(skips[-1])
        maps = self.mid_block(skips[-1])
        for block in self.up_blocks:
            maps = block(maps, skips)
        return float32_convolution(self.conv_out, F.silu(self.norm_out(maps)))


def float32_convolution(layer: nn.Conv2d, maps: Float[Tensor, "images channels height width"]) -> Tensor:
    """A convolution in float32, whatever the model's precision: bfloat16 would move positions by a hundredth."""
    with torch.autocast(maps.device.type, enabled=False):
        return F.conv2d(maps.float(), layer.weight.float(), layer.bias.float(), padding=layer.padding)
