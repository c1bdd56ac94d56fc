"""MV-DUSt3R and MV-DUSt3R+: unposed photos of a scene to points in one frame, in one pass.

Source: "MV-DUSt3R+: Single-Stage Scene Reconstruction from Sparse Views In 2 Seconds" (arXiv 2412.06974).
Deviations and open choices are listed in docs/methods/mvdust3r.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..strict_loading import StrictLoadingMixin
from .attention_mvdust3r import Rotation, rotary_tables
from .configuration_mvdust3r import MVDust3rPlusConfig
from .heads_mvdust3r import MVDust3rGaussianHead, MVDust3rPointHead
from .layers_mvdust3r import MVDust3rDecoder, MVDust3rEncoderLayer
from .linear_mvdust3r import MVDust3rLinear


@no_type_check  # a ModelOutput may also be made of one dictionary, as offloading does
@dataclass
class MVDust3rPlusOutput(ModelOutput):
    """What the network says about every pixel, for one path or all paths, views in the order they were given.

    Args:
        points: [batch, paths, views, height, width, 3] in the camera frame of the path's reference view (OpenCV axes),
            in an arbitrary unit.
        confidence: [batch, paths, views, height, width], larger is surer.
        opacities: [batch, paths, views, height, width] in [0, 1], of the pixels' Gaussians.
        scales: [batch, paths, views, height, width, 3] in the unit of the points; unbounded, may be negative.
        rotations: [batch, paths, views, height, width, 4], unit quaternions (w, x, y, z).
        harmonics: [batch, paths, views, height, width, 3 * (degree + 1) ** 2] as the head gives them; None where
            Gaussians take the colours of their pixels.
        references: the reference view of each path.
    """

    points: Float[Tensor, "batch paths views height width 3"] | None = None
    confidence: Float[Tensor, "batch paths views height width"] | None = None
    opacities: Float[Tensor, "batch paths views height width"] | None = None
    scales: Float[Tensor, "batch paths views height width 3"] | None = None
    rotations: Float[Tensor, "batch paths views height width 4"] | None = None
    harmonics: Float[Tensor, "batch paths views height width channels"] | None = None
    references: tuple[int, ...] | None = None


class MVDust3rPlusModel(StrictLoadingMixin, PreTrainedModel):
    """Points, confidence and Gaussians of all pixels of 2 or more unposed views.

    MV-DUSt3R+ where config.num_references is above 1, MV-DUSt3R where it is 1.
    """

    config: MVDust3rPlusConfig
    config_class = MVDust3rPlusConfig
    base_model_prefix = "mvdust3r"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["MVDust3rEncoderLayer", "MVDust3rDecoderLayer", "MVDust3rPointHead", "MVDust3rGaussianHead"]
    # the residual stream has the precision of the normalisations, and exponentials follow projections
    _keep_in_fp32_modules_strict = [
        "projection",
        "norm",
        "self_norm",
        "cross_norm",
        "context_norm",
        "mlp_norm",
        "encoder_norm",
    ]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MVDust3rPlusConfig):
        super().__init__(config)
        patch = config.patch_size
        self.patch_embedding = nn.Conv2d(3, config.encoder_hidden_size, patch, stride=patch)
        self.encoder_layers = nn.ModuleList(MVDust3rEncoderLayer(config) for _ in range(config.encoder_num_layers))
        self.encoder_norm = nn.LayerNorm(config.encoder_hidden_size, eps=config.layer_norm_eps)
        self.encoder_to_decoder = MVDust3rLinear(config.encoder_hidden_size, config.decoder_hidden_size)
        self.decoder = MVDust3rDecoder(config)
        self.reference_point_head = MVDust3rPointHead(config)
        self.source_point_head = MVDust3rPointHead(config)
        self.reference_gaussian_head = MVDust3rGaussianHead(config) if config.use_gaussians else None
        self.source_gaussian_head = MVDust3rGaussianHead(config) if config.use_gaussians else None
        self.post_init()

    @classmethod
    def from_size(cls, size: str, **overrides) -> "MVDust3rPlusModel":
        """A randomly initialised model of size "tiny", "small" or "base", with any config field overridden."""
        return cls(MVDust3rPlusConfig.from_size(size, **overrides))

    def forward(
        self,
        pixel_values: Float[Tensor, "batch views 3 height width"],
        references: Sequence[int] | None = None,
        all_paths: bool | None = None,
        head_views: int | None = 8,
        return_dict: bool = True,
    ) -> MVDust3rPlusOutput | tuple:
        """Predict points, confidence and Gaussians.

        Args:
            pixel_values: sRGB in [-1, 1]; height and width are multiples of config.patch_size.
            references: views that serve as references; the points of the first path are in the frame of the first. By
                default the first config.num_references views, or all if there are fewer.
            all_paths: return what each reference's path says, not the first alone. By default in training only: the
                other paths serve the first through the fusion layers, but their heads need not be run.
            head_views: the heads work on so many views at a time, which bounds their memory; None for all at once, as
                is always done in training and where gradients are recorded.

        Raises:
            ValueError: if there are too few views or references, or the size is no multiple of the patch size.
        """
        all_paths = self.training if all_paths is None else all_paths
        references = self._checked_references(pixel_values, references)
        if not (all_paths or self.config.has_fusion):
            references = references[:1]
        order = [*references, *(view for view in range(pixel_values.shape[1]) if view not in references)]
        pixel_values = pixel_values[:, order]  # references first, from here to the heads

        tokens = self.decode(self.encode(pixel_values), len(references), all_paths, pixel_values.shape[-2:])
        place = [order.index(view) for view in range(len(order))]
        at_once = self.training or torch.is_grad_enabled()  # batch statistics are those of all views
        outputs = self._predict(tokens, pixel_values, place, None if at_once else head_views)
        paths = references if all_paths else references[:1]
        output = MVDust3rPlusOutput(**outputs, references=tuple(paths))
        return output if return_dict else output.to_tuple()

    def encode(
        self, pixel_values: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views tokens encoder_width"]:
        """Tokens of each view alone."""
        head_dim = self.config.encoder_hidden_size // self.config.encoder_num_heads
        rotation = self._rotation(pixel_values.shape[-2:], head_dim, pixel_values.device)
        weight = self.patch_embedding.weight
        tokens = self.patch_embedding(pixel_values.flatten(0, 1).to(weight.dtype)).flatten(2).transpose(1, 2)
        tokens = tokens.to(self.encoder_norm.weight.dtype)  # of the residual stream, also under autocast
        for layer in self.encoder_layers:
            tokens = layer(tokens, rotation)
        return self.encoder_norm(tokens).unflatten(0, pixel_values.shape[:2])

    def decode(
        self,
        tokens: Float[Tensor, "batch views tokens encoder_width"],
        num_paths: int,
        all_paths: bool,
        image_size: tuple[int, int],
    ) -> Float[Tensor, "batch paths views tokens decoder_width"]:
        """Tokens of each view that know the others, in every path or in the first; see `MVDust3rDecoder`."""
        head_dim = self.config.decoder_hidden_size // self.config.decoder_num_heads
        projected = self.encoder_to_decoder(tokens).to(self.decoder.norm.weight.dtype)
        rotation = self._rotation(image_size, head_dim, projected.device)
        return self.decoder(projected, rotation, num_paths, all_paths)

    def _rotation(self, image_size: Sequence[int], head_dim: int, device: torch.device) -> Rotation:
        rows, columns = (pixels // self.config.patch_size for pixels in image_size)
        return rotary_tables(rows, columns, head_dim, self.config.rope_base, device)

    def _predict(
        self, tokens: Tensor, pixel_values: Tensor, place: Sequence[int], head_views: int | None
    ) -> dict[str, Tensor]:
        """Run the heads on views (references first), in chunks, and put their outputs at the views' own places."""
        batch, num_paths, num_views = tokens.shape[:3]
        own = [(path, path) for path in range(num_paths)]
        others = [(path, view) for path in range(num_paths) for view in range(num_views) if view != path]
        size = len(own + others) if head_views is None else max(1, head_views // batch)

        parts = []
        for pairs, *heads in (
            (own, self.reference_point_head, self.reference_gaussian_head),
            (others, self.source_point_head, self.source_gaussian_head),
        ):
            for start in range(0, len(pairs), size):
                path, view = zip(*pairs[start : start + size], strict=True)
                of_views = tokens[:, path, view].flatten(0, 1), pixel_values[:, view].flatten(0, 1)
                part = {}
                for head in heads:
                    part.update({} if head is None else head(*of_views))
                parts.append({name: values.unflatten(0, (batch, -1)) for name, values in part.items()})

        found = {pair: index for index, pair in enumerate(own + others)}
        index = [[found[path, view] for view in place] for path in range(num_paths)]
        return {name: torch.cat([part.pop(name) for part in parts], dim=1)[:, index] for name in list(parts[0])}

    def _checked_references(self, pixel_values: Tensor, references: Sequence[int] | None) -> list[int]:
        """The references, by default the first views."""
        views, (height, width), patch = pixel_values.shape[1], pixel_values.shape[-2:], self.config.patch_size
        if views < 2:
            raise ValueError(f"{views} view was given; 2 or more are accepted (a single photo can be given twice)")
        if height % patch or width % patch:
            raise ValueError(
                f"images of {height}x{width} pixels do not divide into patches; both sides must be multiples of "
                f"{patch}, as MVDust3rPlusImageProcessor makes them"
            )
        if references is None:
            references = range(min(self.config.num_references, views))
        references = list(references)
        fewest = 2 if self.config.has_fusion else 1
        outside = [view for view in references if not 0 <= view < views]
        if outside or len(set(references)) != len(references) or len(references) < fewest:
            raise ValueError(
                f"references={references} must be {fewest} or more different views from 0 to {views - 1}"
                + (", because this model fuses several paths" if fewest == 2 else "")
            )
        return references

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Xavier weights and no biases; layers whose branch is to start as nothing are zero."""
        if isinstance(module, nn.Linear | nn.Conv2d):
            # the mark is on the layer itself: transformers skips modules that own no parameters
            if getattr(module, "starts_at_zero", False):
                init.zeros_(module.weight)
            else:
                init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm2d):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)
