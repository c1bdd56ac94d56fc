"""Era3DUNetModel: denoises six normal maps and six colour images of an object together (arXiv 2405.11616)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..configuration import of_size
from ..strict_loading import StrictLoadingMixin
from .attention_era3d import Era3DTransformer, KeyValue, PromptAttention, Prompts
from .blocks_era3d import CameraRegressor, DownBlock, MidBlock, UpBlock
from .configuration_era3d import (
    ATTENTION_DOWN_BLOCK,
    ATTENTION_UP_BLOCK,
    ERA3D_SIZES,
    PLAIN_DOWN_BLOCK,
    PLAIN_UP_BLOCK,
    supported_fields,
    validate_config,
)


@dataclass
class Era3DUNetOutput(BaseOutput):
    """What the denoiser predicts.

    Args:
        sample: [rows, out_channels, height, width], rows as in the input.
        poses: [copies, 2], elevation in radians and 24 / focal length in mm of the input camera; None without
            regressors.
    """

    sample: Tensor
    poses: Tensor | None = None


class Era3DUNetModel(StrictLoadingMixin, ModelMixin, ConfigMixin, AttentionMixin, PeftAdapterMixin):
    """Denoises all views of normal maps and colour images together.

    Images stand in rows (domain, copy, view): normal maps first, then colour images; copies are objects, or with
    guidance the objects without and the objects with condition.

    Args:
        sample_size: side of the latents.
        in_channels: of the noisy latents and those of the condition image.
        out_channels: of the latents.
        down_block_types, up_block_types: levels from fine to coarse, and back; by name as in the released
            configuration: `CrossAttn...MV2D` has transformers.
        block_out_channels: width of each level.
        layers_per_block: residual blocks per level.
        norm_num_groups, norm_eps: of the group normalisation.
        cross_attention_dim: width of the prompt embeddings.
        attention_head_dim: number of heads on each level, under the name of the released configuration.
        transformer_layers_per_block: transformer blocks after each residual block.
        projection_class_embeddings_input_dim: width of the image embedding with the code of its noise level.
        num_views: of an object.
        regress_elevation, regress_focal_length: estimate the camera of the condition image; both or none.
        num_regress_blocks: residual blocks of each regressor.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["Era3DTransformerBlock", "ResnetBlock2D"]
    _repeated_blocks = ["Era3DTransformerBlock"]
    _skip_layerwise_casting_patterns = ["norm"]

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        in_channels: int = 8,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] | list[str] = (*[ATTENTION_DOWN_BLOCK] * 3, PLAIN_DOWN_BLOCK),
        up_block_types: tuple[str, ...] | list[str] = (PLAIN_UP_BLOCK, *[ATTENTION_UP_BLOCK] * 3),
        block_out_channels: tuple[int, ...] | list[int] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 1024,
        attention_head_dim: tuple[int, ...] | list[int] = (5, 10, 20, 20),
        transformer_layers_per_block: int = 1,
        projection_class_embeddings_input_dim: int = 2048,
        num_views: int = 6,
        regress_elevation: bool = True,
        regress_focal_length: bool = True,
        num_regress_blocks: int = 3,
    ):
        super().__init__()
        validate_config(self.config)
        widths, heads = list(block_out_channels), list(attention_head_dim)
        embedding_dim = 4 * widths[0]
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.time_proj = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], embedding_dim)
        self.class_embedding = TimestepEmbedding(projection_class_embeddings_input_dim, embedding_dim)
        resnet = partial(
            _resnet, temb_channels=embedding_dim, groups=norm_num_groups, eps=norm_eps, non_linearity="silu"
        )
        transformer = partial(
            Era3DTransformer,
            prompt_dim=cross_attention_dim,
            num_layers=transformer_layers_per_block,
            num_groups=norm_num_groups,
            views=num_views,
        )
        attended = [kind == ATTENTION_DOWN_BLOCK for kind in down_block_types]
        self.down_blocks, skips = _way_down(widths, heads, attended, layers_per_block, resnet, transformer)
        middle = [resnet(widths[-1], widths[-1]) for _ in range(2)]
        self.mid_block = MidBlock(middle, transformer(widths[-1], heads[-1]))
        attended = [kind == ATTENTION_UP_BLOCK for kind in up_block_types]
        self.up_blocks = _way_up(widths, heads, attended, layers_per_block + 1, skips, resnet, transformer)
        if regress_elevation:
            self.camera_embedding = TimestepEmbedding(4, embedding_dim)
            regressor = partial(CameraRegressor, 2 * widths[-1], widths[-1], num_regress_blocks)
            self.elevation_regressor, self.focal_regressor = regressor(), regressor()
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, widths[0], eps=norm_eps)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        self.gradient_checkpointing = False
        for index, layer in enumerate(self._prompt_attentions()):
            layer.index = index

    @classmethod
    def from_size(cls, size: str, **overrides) -> "Era3DUNetModel":
        """A randomly initialised model of size "tiny", "small" or "base", with any config field overridden."""
        return cls(**of_size(ERA3D_SIZES, size, overrides))

    @classmethod
    def extract_init_dict(cls, config_dict, **kwargs):
        """Also reads the released configurations, see `supported_fields`."""
        return super().extract_init_dict(supported_fields(config_dict), **kwargs)

    @apply_forward_hook  # offloading moves weights for `forward` only
    def cache_prompts(self, prompt_embeds: Float[Tensor, "prompts tokens prompt_dim"]) -> tuple[KeyValue, ...]:
        """Keys and values of every prompt attention, computed once for all steps; they go where the prompts go.

        Args:
            prompt_embeds: [2 * num_views, tokens, prompt_dim], of the views of normal maps, then of colour images.
        """
        return tuple(layer.project_context(prompt_embeds) for layer in self._prompt_attentions())

    def forward(
        self,
        sample: Float[Tensor, "rows in_channels height width"],
        timestep: Int[Tensor, "..."] | Float[Tensor, "..."] | int,
        encoder_hidden_states: Prompts,
        class_labels: Float[Tensor, "rows class_dim"],
        return_dict: bool = True,
    ) -> Era3DUNetOutput | tuple:
        """Denoise.

        Args:
            sample: noisy latents and those of the condition image; rows are (domain, copy, view).
            timestep: of all rows, or [rows].
            encoder_hidden_states: prompt embeddings of each row, or of each (domain, view) for all copies; or the
                result of `cache_prompts`.
            class_labels: embedding of the condition image with the code of its noise level.
            return_dict: return an `Era3DUNetOutput` instead of (sample, poses).

        Raises:
            ValueError: if the rows are not whole objects in both domains.
        """
        views = self.config.num_views
        if len(sample) % (2 * views):
            raise ValueError(
                f"sample has {len(sample)} rows; accepted are multiples of {2 * views}: {views} normal maps and "
                f"{views} colour images of each object, all normal maps first"
            )
        timesteps = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        embedding = self.time_embedding(self.time_proj(timesteps).to(sample.dtype))
        embedding = embedding + self.class_embedding(class_labels.to(sample.dtype))

        maps = self.conv_in(sample)
        skips = [maps]
        for block in self.down_blocks:
            maps, more = self._run(block, maps, embedding, encoder_hidden_states)
            skips += more
        maps = self._run(self.mid_block, maps, embedding, encoder_hidden_states)
        poses = None
        if self.config.regress_elevation:
            poses = self.regress_cameras(maps)
            embedding = embedding + self.embed_cameras(poses)
        for block in self.up_blocks:
            count = len(block.resnets)
            skips, taken = skips[:-count], skips[-count:]
            maps = self._run(block, maps, taken, embedding, encoder_hidden_states)
        predicted = self.conv_out(nn.functional.silu(self.conv_norm_out(maps)))
        return Era3DUNetOutput(predicted, poses) if return_dict else (predicted, poses)

    def regress_cameras(self, maps: Float[Tensor, "rows dim height width"]) -> Float[Tensor, "copies 2"]:
        """Elevation in radians and 24 / focal length in mm of the condition image, from the coarsest maps."""
        pooled = maps.detach().mean((2, 3))
        both = torch.cat(pooled.chunk(2), dim=1)  # normal map and colour image of each view
        values = torch.cat([self.elevation_regressor(both), self.focal_regressor(both)], dim=1)
        return values.unflatten(0, (-1, self.config.num_views)).mean(1)

    def embed_cameras(self, poses: Float[Tensor, "copies 2"]) -> Float[Tensor, "rows embedding_dim"]:
        """What the levels on the way up add to the embedding of the time step."""
        code = self.camera_embedding(torch.cat([poses.sin(), poses.cos()], dim=1))
        return code.repeat_interleave(self.config.num_views, dim=0).repeat(2, 1)

    def _run(self, block: nn.Module, *inputs):
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)

    def _prompt_attentions(self) -> list[PromptAttention]:
        return [module for module in self.modules() if isinstance(module, PromptAttention)]


def _way_down(
    widths: list[int],
    heads: list[int],
    attended: list[bool],
    layers: int,
    resnet: Callable[..., ResnetBlock2D],
    transformer: Callable[..., Era3DTransformer],
) -> tuple[nn.ModuleList, list[int]]:
    """Levels from fine to coarse, and the channels of the maps that they and their input leave for the way up."""
    blocks, skips, channels = nn.ModuleList(), [widths[0]], widths[0]
    for level, width in enumerate(widths):
        resnets = [resnet(channels if i == 0 else width, width) for i in range(layers)]
        transformers = [transformer(width, heads[level]) for _ in range(layers if attended[level] else 0)]
        last = level == len(widths) - 1
        blocks.append(DownBlock(resnets, transformers, None if last else width))
        skips += [width] * (layers + (not last))
        channels = width
    return blocks, skips


def _way_up(
    widths: list[int],
    heads: list[int],
    attended: list[bool],
    layers: int,
    skips: list[int],
    resnet: Callable[..., ResnetBlock2D],
    transformer: Callable[..., Era3DTransformer],
) -> nn.ModuleList:
    """Levels from coarse to fine, of which every layer takes in a map of the way down, the last one first."""
    blocks, taken, channels = nn.ModuleList(), reversed(skips), widths[-1]
    for level, with_transformers in zip(reversed(range(len(widths))), attended, strict=True):
        width = widths[level]
        resnets = [resnet((channels if i == 0 else width) + next(taken), width) for i in range(layers)]
        transformers = [transformer(width, heads[level]) for _ in range(layers if with_transformers else 0)]
        blocks.append(UpBlock(resnets, transformers, width if level else None))
        channels = width
    return blocks


def _resnet(channels: int, out_channels: int, **options) -> ResnetBlock2D:
    return ResnetBlock2D(in_channels=channels, out_channels=out_channels, **options)
