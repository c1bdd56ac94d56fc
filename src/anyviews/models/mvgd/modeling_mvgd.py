"""MVGD's denoiser: a Recurrent Interface Network over ray-coded scene and prediction tokens.

Source: "Zero-Shot Novel View and Depth Synthesis with Multi-View Geometric Diffusion" (arXiv 2501.18804) on top of
"Scalable Adaptive Computation for Iterative Generation" (RIN, arXiv 2212.11972). Deviations and open choices are
listed in docs/methods/mvgd.md.
"""

import inspect
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin, FeedForward
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..configuration import check_choices, check_multiple, check_positive, of_size
from ..strict_loading import StrictLoadingMixin
from .attention_mvgd import KeyValue, MVGDAttention
from .configuration_mvgd import MVGD_SIZES
from .embeddings_mvgd import NoiseLevelEmbedding, RayEncoding
from .sweep_mvgd import SWEEP_CHANNELS


TASK_CHANNELS = {"rgb": 3, "depth": 1}

POSITIVE = "image_size patch_size num_blocks num_latents latent_dim num_attention_heads token_dim sweep_stride".split()


@dataclass(frozen=True)
class MVGDSceneContext:
    """What the denoiser knows of the conditioning views.

    Args:
        tokens: [scenes, S, token_dim] from `MVGDTransformerModel.embed_scene`.
        mask: [scenes, S], True where a token exists; None where all do.
        key_values: per block, one pair per attention layer that reads the scene (`MVGDTransformerModel.cache_scene`).
        chunk_tokens: without `key_values`, attend to so many tokens at a time; None for all at once.
        target_codes: per task [scenes, prediction tokens, token_dim] from `MVGDTransformerModel.embed_sweep`; only for
            models with sweep_depths.
    """

    tokens: Float[Tensor, "scenes tokens token_dim"]
    mask: Bool[Tensor, "scenes tokens"] | None = None
    key_values: tuple[tuple[KeyValue, ...], ...] | None = None
    chunk_tokens: int | None = None
    target_codes: dict[str, Float[Tensor, "scenes _ token_dim"]] | None = None

    def of_block(self, block: int, layer: int) -> dict:
        """Keyword arguments of the attention `layer` of `block`."""
        if self.key_values is not None:
            return {"key_value": self.key_values[block][layer], "mask": self.mask}
        return {"context": self.tokens, "mask": self.mask, "chunk_tokens": self.chunk_tokens}


@dataclass
class MVGDTransformerOutput(BaseOutput):
    """Output of the denoiser.

    Args:
        predictions: per task [batch, tokens, channels * patch_size**2], of the kind config.prediction_type.
        latents: [batch, num_latents, latent_dim], to be given back as `previous_latents` at the next step.
    """

    predictions: dict[str, Tensor]
    latents: Tensor


class RINBlock(nn.Module):
    """One block: latents read the tokens, think, and write back to the prediction tokens (RIN, section 3)."""

    def __init__(
        self,
        latent_dim: int,
        token_dim: int,
        num_heads: int,
        num_layers: int,
        latent_mlp_ratio: float,
        token_mlp_ratio: float,
        read_mode: str,
        token_scene_attention: bool,
        qk_norm: bool,
    ):
        super().__init__()
        inner = min(latent_dim, token_dim)

        def feed_forward(width: int, ratio: float) -> FeedForward:
            return FeedForward(width, inner_dim=int(width * ratio), activation_fn="gelu")

        self.read_mode = read_mode
        self.norm_read = nn.LayerNorm(latent_dim)
        self.attn_read = MVGDAttention(latent_dim, token_dim, inner, num_heads, qk_norm)
        if read_mode == "decoupled":
            self.norm_read_scene = nn.LayerNorm(latent_dim)
            self.attn_read_scene = MVGDAttention(latent_dim, token_dim, inner, num_heads, qk_norm)
        self.norm_read_ff = nn.LayerNorm(latent_dim)
        self.read_ff = feed_forward(latent_dim, latent_mlp_ratio)

        self.norms_self = nn.ModuleList(nn.LayerNorm(latent_dim) for _ in range(num_layers))
        self.attns_self = nn.ModuleList(
            MVGDAttention(latent_dim, latent_dim, latent_dim, num_heads, qk_norm) for _ in range(num_layers)
        )
        self.norms_ff = nn.ModuleList(nn.LayerNorm(latent_dim) for _ in range(num_layers))
        self.ffs = nn.ModuleList(feed_forward(latent_dim, latent_mlp_ratio) for _ in range(num_layers))

        self.norm_write = nn.LayerNorm(token_dim)
        self.attn_write = MVGDAttention(token_dim, latent_dim, inner, num_heads, qk_norm)
        self.token_scene_attention = token_scene_attention
        if token_scene_attention:
            self.norm_write_scene = nn.LayerNorm(token_dim)
            self.attn_write_scene = MVGDAttention(token_dim, token_dim, token_dim, num_heads, qk_norm)
        self.norm_write_ff = nn.LayerNorm(token_dim)
        self.write_ff = feed_forward(token_dim, token_mlp_ratio)

    @property
    def scene_attentions(self) -> list[MVGDAttention]:
        """The layers whose keys and values depend on the scene tokens alone, in the order of the cache."""
        layers = [self.attn_read_scene] if self.read_mode == "decoupled" else [self.attn_read]
        return [*layers, self.attn_write_scene] if self.token_scene_attention else layers

    def forward(
        self,
        latents: Float[Tensor, "batch latents latent_dim"],
        tokens: Float[Tensor, "batch tokens token_dim"],
        scene: MVGDSceneContext,
        token_mask: Bool[Tensor, "batch tokens"] | None,
        index: int,
    ) -> tuple[Float[Tensor, "batch latents latent_dim"], Float[Tensor, "batch tokens token_dim"]]:
        if self.read_mode == "decoupled":
            latents = latents + self.attn_read_scene(self.norm_read_scene(latents), **scene.of_block(index, 0))
            latents = latents + self.attn_read(self.norm_read(latents), tokens, token_mask)
        else:
            latents = latents + self._read_jointly(self.norm_read(latents), tokens, scene, token_mask, index)
        latents = latents + self.read_ff(self.norm_read_ff(latents))

        for norm, attn, norm_ff, ff in zip(self.norms_self, self.attns_self, self.norms_ff, self.ffs, strict=True):
            latents = latents + attn(norm(latents))
            latents = latents + ff(norm_ff(latents))

        tokens = tokens + self.attn_write(self.norm_write(tokens), latents)
        if self.token_scene_attention:
            tokens = tokens + self.attn_write_scene(self.norm_write_scene(tokens), **scene.of_block(index, 1))
        return latents, tokens + self.write_ff(self.norm_write_ff(tokens))

    def _read_jointly(
        self, latents: Tensor, tokens: Tensor, scene: MVGDSceneContext, token_mask: Tensor | None, index: int
    ) -> Tensor:
        """One softmax over scene and prediction tokens (the original RIN's tape)."""
        members = len(latents) // len(scene.tokens)
        scene_key_value = (
            self.attn_read.project_context(scene.tokens) if scene.key_values is None else scene.key_values[index][0]
        )
        token_key_value = self.attn_read.project_context(tokens)
        key_value = tuple(
            torch.cat([of_scene.repeat_interleave(members, dim=0), of_tokens], dim=1)
            for of_scene, of_tokens in zip(scene_key_value, token_key_value, strict=True)
        )
        mask = None
        if scene.mask is not None or token_mask is not None:
            ones = latents.new_ones(len(scene.tokens), scene.tokens.shape[1], dtype=torch.bool)
            scene_mask = ones if scene.mask is None else scene.mask
            token_mask = torch.ones_like(tokens[..., 0], dtype=torch.bool) if token_mask is None else token_mask
            mask = torch.cat([scene_mask.repeat_interleave(members, dim=0), token_mask], dim=1)
        return self.attn_read(latents, key_value=key_value, mask=mask)


class MVGDTransformerModel(StrictLoadingMixin, ModelMixin, ConfigMixin, AttentionMixin, PeftAdapterMixin):
    """Denoises the pixels (or patches) of target views, RGB and depth, given tokens of posed views.

    Args:
        image_size: side of the square images the model was trained at, in pixels.
        patch_size: pixels per side of a prediction token; the paper uses 1.
        num_blocks, num_layers_per_block: RIN blocks, and latent self-attention layers in each.
        num_latents, latent_dim: the latent set.
        num_attention_heads: heads of every attention layer.
        token_dim: width of scene and prediction tokens (the interface).
        token_mlp_ratio, latent_mlp_ratio: hidden width of the feed-forward layers over their width.
        image_feature_dim, image_embed_dim: channels of the image encoder, and of its projection.
        origin_bands, direction_bands, ray_max_resolution, ray_encoding_sine_only: Fourier code of rays.
        normalize_rays: code unit directions instead of directions with z-depth 1.
        ray_footprint, ray_points: additions to the ray code, see `RayEncoding`; the paper has neither.
        task_embed_dim: width of the learned code of a task.
        tasks: modalities that the model generates, out of "rgb" and "depth".
        read_mode: "decoupled" (scene, then prediction tokens) or "joint" (one softmax over both).
        sweep_depths: compare the photos at so many depths along each target ray (`plane_sweep`); the paper does not.
        sweep_stride: pixels between the rays that are compared.
        token_scene_attention: let prediction tokens attend to scene tokens directly; the paper's cannot.
        latent_self_conditioning: start from the latents of the previous step.
        qk_norm: RMS-normalised queries and keys.
        noise_parametrization: "vp_gamma" (diffusion) or "flow_sigma" (flow matching).
        prediction_type: "epsilon", "sample" or "v_prediction" for vp_gamma, "flow" for flow_sigma.
        depth_min, depth_max: depth range in units of the scene scale.
        depth_type: "z" or "distance" (along the ray).
        scale_from: the scene scale is the largest component of relative camera "center"s or of "translation"s.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["RINBlock"]
    _repeated_blocks = ["RINBlock"]
    _skip_layerwise_casting_patterns = ["norm", "ray_encoding", "noise_embed"]

    @register_to_config
    def __init__(
        self,
        image_size: int = 256,
        patch_size: int = 1,
        num_blocks: int = 6,
        num_layers_per_block: int = 4,
        num_latents: int = 256,
        latent_dim: int = 1024,
        num_attention_heads: int = 16,
        token_dim: int = 512,
        token_mlp_ratio: float = 4.0,
        latent_mlp_ratio: float = 4.0,
        image_feature_dim: int = 448,
        image_embed_dim: int = 256,
        origin_bands: int = 8,
        direction_bands: int = 8,
        ray_max_resolution: float = 100.0,
        ray_encoding_sine_only: bool = False,
        normalize_rays: bool = True,
        ray_footprint: bool = False,
        ray_points: int = 0,
        task_embed_dim: int = 128,
        tasks: tuple[str, ...] | list[str] = ("rgb", "depth"),  # JSON has no tuples
        read_mode: str = "decoupled",
        sweep_depths: int = 0,
        sweep_stride: int = 1,
        token_scene_attention: bool = False,
        latent_self_conditioning: bool = True,
        qk_norm: bool = False,
        noise_parametrization: str = "vp_gamma",
        prediction_type: str = "epsilon",
        depth_min: float = 0.1,
        depth_max: float = 200.0,
        depth_type: str = "z",
        scale_from: str = "center",
    ):
        super().__init__()
        _validate_config(self.config)
        self.ray_encoding = RayEncoding(
            origin_bands,
            direction_bands,
            ray_max_resolution,
            ray_encoding_sine_only,
            ray_footprint,
            ray_points,
            (depth_min, depth_max),
        )
        self.image_embed = nn.Linear(image_feature_dim, image_embed_dim)
        self.scene_embed = nn.Linear(image_embed_dim + self.ray_encoding.features, token_dim)
        if sweep_depths:
            features = sweep_depths * SWEEP_CHANNELS * (patch_size // sweep_stride) ** 2
            self.sweep_in = nn.Linear(features, 2 * token_dim)
            self.sweep_out = nn.Linear(2 * token_dim, token_dim)
        self.task_embed = nn.ParameterDict({task: torch.randn(task_embed_dim) for task in tasks})
        patch_channels = {task: TASK_CHANNELS[task] * patch_size**2 for task in tasks}
        self.token_embed = nn.ModuleDict(
            {
                task: nn.Linear(channels + self.ray_encoding.features + task_embed_dim, token_dim)
                for task, channels in patch_channels.items()
            }
        )
        self.latents = nn.Parameter(torch.randn(num_latents, latent_dim) * latent_dim**-0.5)
        self.noise_embed = NoiseLevelEmbedding(latent_dim)
        if latent_self_conditioning:
            self.norm_previous = nn.LayerNorm(latent_dim)
            self.previous_ff = FeedForward(
                latent_dim, inner_dim=int(latent_dim * latent_mlp_ratio), activation_fn="gelu"
            )
            self.norm_previous_out = nn.LayerNorm(latent_dim)
            nn.init.zeros_(self.norm_previous_out.weight)
        self.blocks = nn.ModuleList(
            RINBlock(
                latent_dim,
                token_dim,
                num_attention_heads,
                num_layers_per_block,
                latent_mlp_ratio,
                token_mlp_ratio,
                read_mode,
                token_scene_attention,
                qk_norm,
            )
            for _ in range(num_blocks)
        )
        self.norm_out = nn.LayerNorm(token_dim)
        self.heads = nn.ModuleDict({task: nn.Linear(token_dim, channels) for task, channels in patch_channels.items()})
        for head in self.heads.values():
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.gradient_checkpointing = False

    @classmethod
    def from_size(cls, size: str, **overrides) -> "MVGDTransformerModel":
        """A randomly initialised model of size "tiny", "small" or "base", with any config field overridden."""
        return cls(**of_size(MVGD_SIZES, size, overrides))

    @apply_forward_hook  # offloading moves weights for `forward` only
    def embed_scene(
        self,
        image_features: Float[Tensor, "scenes tokens image_feature_dim"],
        rays: Float[Tensor, "scenes tokens 12"],
    ) -> Float[Tensor, "scenes tokens token_dim"]:
        """Scene tokens from image features and the rays of their pixels, in the normalised frame of the targets."""
        codes = self.ray_encoding(rays).to(image_features.dtype)
        return self.scene_embed(torch.cat([self.image_embed(image_features), codes], dim=-1))

    @apply_forward_hook
    def embed_sweep(self, sweep: Float[Tensor, "scenes tokens features"]) -> Float[Tensor, "scenes tokens token_dim"]:
        """What the photos say about each target token, from `plane_sweep`; computed once for all steps and members."""
        return self.sweep_out(F.gelu(self.sweep_in(sweep.to(self.sweep_in.weight.dtype))))

    @apply_forward_hook
    def cache_scene(self, scene: MVGDSceneContext) -> MVGDSceneContext:
        """Compute keys and values of every block once, for all steps, tasks and ensemble members."""
        key_values = tuple(
            tuple(layer.project_context(scene.tokens) for layer in block.scene_attentions) for block in self.blocks
        )
        return replace(scene, key_values=key_values)

    def forward(
        self,
        sample: dict[str, Float[Tensor, "batch _ _"]],
        rays: dict[str, Float[Tensor, "batch _ 12"]],
        noise_level: Float[Tensor, "batch"],
        scene: MVGDSceneContext,
        previous_latents: Float[Tensor, "batch latents latent_dim"] | None = None,
        masks: dict[str, Bool[Tensor, "batch _"]] | None = None,
        return_dict: bool = True,
    ) -> MVGDTransformerOutput | tuple:
        """Denoise prediction tokens; any subset of pixels, any number of target views, any subset of tasks.

        Args:
            sample: per task [batch, tokens, channels * patch_size**2], the noisy state of each token.
            rays: per task [batch, tokens, 12] from `processing_mvgd.ray_map`, for the same tokens.
            noise_level: [batch], gamma (vp_gamma) or sigma (flow_sigma), in [0, 1].
            scene: context tokens; its batch may be a divisor of the sample's (ensemble members in a row).
            previous_latents: latents of the previous step, for latent self-conditioning.
            masks: per task [batch, tokens], True where a token exists (sparse depth).
        """
        tokens = [self._embed_state(task, state, rays[task]) for task, state in sample.items()]
        if self.config.sweep_depths:
            members = len(tokens[0]) // len(scene.tokens)
            codes = [scene.target_codes[task].repeat_interleave(members, dim=0) for task in sample]
            tokens = [t + c for t, c in zip(tokens, codes, strict=True)]
        lengths = [t.shape[1] for t in tokens]
        tokens = torch.cat(tokens, dim=1)
        token_mask = None
        if masks is not None:
            token_mask = torch.cat([masks[task] for task in sample], dim=1)

        latents = self.latents.expand(len(tokens), -1, -1)
        if previous_latents is not None and self.config.latent_self_conditioning:
            previous = previous_latents + self.previous_ff(self.norm_previous(previous_latents))
            latents = latents + self.norm_previous_out(previous)
        latents = latents + self.noise_embed(noise_level)[:, None]

        for index, block in enumerate(self.blocks):
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                latents, tokens = self._gradient_checkpointing_func(block, latents, tokens, scene, token_mask, index)
            else:
                latents, tokens = block(latents, tokens, scene, token_mask, index)

        split = self.norm_out(tokens).split(lengths, dim=1)
        predictions = {task: self.heads[task](t) for task, t in zip(sample, split, strict=True)}
        if not return_dict:
            return predictions, latents
        return MVGDTransformerOutput(predictions=predictions, latents=latents)

    def _embed_state(self, task: str, state: Tensor, rays: Tensor) -> Tensor:
        """Prediction tokens of one task; apart from `forward`, which would keep the long ray codes until its end."""
        codes = self.ray_encoding(rays).to(state.dtype)
        task_code = self.task_embed[task].to(state.dtype).expand(*state.shape[:2], -1)
        return self.token_embed[task](torch.cat([state, codes, task_code], dim=-1))

    @torch.no_grad()
    def expand_latents(self, factor: int, noise_std: float = 0.01) -> None:
        """Enlarge the latent set by duplication (MVGD, incremental fine-tuning).

        Args:
            factor: how many copies of each latent the new set holds.
            noise_std: noise on the copies, relative to the latents' standard deviation. Exact copies leave the output
                unchanged but receive equal gradients for ever, so they add no capacity.
        """
        if factor < 1:
            raise ValueError(f"factor must be at least 1, found {factor}")
        copies = self.latents.repeat(factor, 1)
        noise = torch.randn_like(copies) * self.latents.std() * noise_std
        noise[: len(self.latents)] = 0
        self.latents = nn.Parameter(copies + noise, requires_grad=self.latents.requires_grad)
        self.register_to_config(num_latents=len(self.latents))

    def save_pretrained(self, save_directory, *args, **kwargs) -> None:
        """Save the model; refuses while a LoRA adapter is attached, whose keys could not be loaded again."""
        if getattr(self, "peft_config", None):
            raise ValueError(
                f"a LoRA adapter is attached ({', '.join(self.peft_config)}); save it with save_lora_adapter, or call "
                "fuse_lora() and unload_lora() before save_pretrained"
            )
        super().save_pretrained(save_directory, *args, **kwargs)

    # a pipeline passes variant and max_shard_size on only if the signature names them
    save_pretrained.__signature__ = inspect.signature(ModelMixin.save_pretrained)


def _validate_config(config) -> None:
    """Raise ValueError that names the first field with an impossible value."""
    prediction_types = {"vp_gamma": ("epsilon", "sample", "v_prediction"), "flow_sigma": ("flow",)}
    accepted = {
        "noise_parametrization": tuple(prediction_types),
        "read_mode": ("decoupled", "joint"),
        "depth_type": ("z", "distance"),
        "scale_from": ("center", "translation"),
    }
    check_choices(config, accepted)
    check_positive(config, POSITIVE)
    kinds = prediction_types[config.noise_parametrization]
    if config.prediction_type not in kinds:
        raise ValueError(
            f"prediction_type={config.prediction_type!r} does not fit noise_parametrization="
            f"{config.noise_parametrization!r}; accepted are {', '.join(kinds)}"
        )
    unknown = set(config.tasks) - set(TASK_CHANNELS)
    if unknown or not config.tasks:
        raise ValueError(f"tasks={tuple(config.tasks)} must be some of {', '.join(TASK_CHANNELS)}")
    if not 0 < config.depth_min < config.depth_max:
        raise ValueError(f"need 0 < depth_min < depth_max, found {config.depth_min} and {config.depth_max}")
    if config.image_size % 4 or config.image_size % config.patch_size:
        raise ValueError(
            f"image_size={config.image_size} must be a multiple of 4 and of patch_size={config.patch_size}"
        )
    check_multiple(config, "patch_size", of="sweep_stride")
    for field in ("latent_dim", "token_dim"):
        check_multiple(config, field, of="num_attention_heads")
