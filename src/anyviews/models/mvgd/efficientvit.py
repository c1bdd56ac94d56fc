"""EfficientViT-L2 feature extractor, the backbone of MVGD's image encoder, and the loader of its public weights.

Architecture: EfficientViT (arXiv 2205.14756) and EfficientViT-SAM (arXiv 2402.05008). Layer definitions and key names
were taken from, and are tested against an independent description of:

- mit-han-lab/efficientvit (Apache-2.0): efficientvit/models/efficientvit/{backbone,cls,sam}.py (commits f6f49ba2,
  8d60c1c6, 9ce71d46), efficientvit/models/nn/{ops,act,norm}.py (7e00adcf, 8d60c1c6), and efficientvit/sam_model_zoo.py
  (d621296a) and cls_model_zoo.py for the epsilon of the batch norms;
- huggingface/pytorch-image-models (Apache-2.0): timm/models/efficientvit_mit.py (`efficientvit_l2`, commit 00851493).

Only what lies between the image and stride 16 is built. In the L2 variant those stages are convolutional; the linear
attention (LiteMLA) lives in the stride-32 stage alone, which MVGD's 448 = 64 + 128 + 256 channels do not use. They
have 7.66 M of the classifier's 63.71 M parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


L2_WIDTHS = (32, 64, 128, 256)
L2_DEPTHS = (1, 2, 2, 8)
OUTPUT_STRIDE = 16

# Expansion of the inverted bottlenecks: the block that halves the resolution expands four times as much.
EXPAND_RATIO = 4
DOWNSAMPLE_EXPAND_RATIO = 16


class ConvLayer(nn.Module):
    """Convolution that keeps the size (up to its stride), then batch norm or a bias, then GELU or nothing.

    Args:
        norm_eps: epsilon of the batch norm; None for a bias and no norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        norm_eps: float | None = None,
        activation: bool = False,
    ):
        super().__init__()
        padding = kernel_size // 2
        bias = norm_eps is None
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
        self.norm = nn.Identity() if norm_eps is None else nn.BatchNorm2d(out_channels, eps=norm_eps)
        self.activation = nn.GELU(approximate="tanh") if activation else nn.Identity()

    def forward(self, hidden: Float[Tensor, "images _ _ _"]) -> Float[Tensor, "images _ _ _"]:
        return self.activation(self.norm(self.conv(hidden)))


class ResBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (stem)."""

    def __init__(self, channels: int, norm_eps: float):
        super().__init__()
        self.conv1 = ConvLayer(channels, channels, 3, norm_eps=norm_eps, activation=True)
        self.conv2 = ConvLayer(channels, channels, 3, norm_eps=norm_eps)

    def forward(self, hidden: Float[Tensor, "images channels h w"]) -> Float[Tensor, "images channels h w"]:
        return hidden + self.conv2(self.conv1(hidden))


class FusedMBConv(nn.Module):
    """Inverted bottleneck whose expansion is a full 3x3 convolution (strides 4 and 8); a shortcut if stride is 1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expand_ratio: int, norm_eps: float):
        super().__init__()
        middle = in_channels * expand_ratio
        self.has_shortcut = stride == 1
        self.spatial_conv = ConvLayer(in_channels, middle, 3, stride, norm_eps=norm_eps, activation=True)
        self.point_conv = ConvLayer(middle, out_channels, 1, norm_eps=norm_eps)

    def forward(self, hidden: Float[Tensor, "images _ _ _"]) -> Float[Tensor, "images _ _ _"]:
        update = self.point_conv(self.spatial_conv(hidden))
        return hidden + update if self.has_shortcut else update


class MBConv(nn.Module):
    """Inverted bottleneck with a depthwise 3x3 convolution, normalised only at its end (stride 16)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expand_ratio: int, norm_eps: float):
        super().__init__()
        middle = in_channels * expand_ratio
        self.has_shortcut = stride == 1
        self.inverted_conv = ConvLayer(in_channels, middle, 1, activation=True)
        self.depth_conv = ConvLayer(middle, middle, 3, stride, groups=middle, activation=True)
        self.point_conv = ConvLayer(middle, out_channels, 1, norm_eps=norm_eps)

    def forward(self, hidden: Float[Tensor, "images _ _ _"]) -> Float[Tensor, "images _ _ _"]:
        update = self.point_conv(self.depth_conv(self.inverted_conv(hidden)))
        return hidden + update if self.has_shortcut else update


def _stage(
    block: type[FusedMBConv] | type[MBConv], in_channels: int, out_channels: int, depth: int, norm_eps: float
) -> nn.Sequential:
    downsample = block(in_channels, out_channels, 2, DOWNSAMPLE_EXPAND_RATIO, norm_eps)
    return nn.Sequential(
        downsample, *(block(out_channels, out_channels, 1, EXPAND_RATIO, norm_eps) for _ in range(depth))
    )


class EfficientViTL2(nn.Module):
    """Feature maps of EfficientViT-L2 at strides 4, 8 and 16.

    Images must already be normalised with mean (0.485, 0.456, 0.406) and standard deviation (0.229, 0.224, 0.225)
    of RGB in [0, 1]: all public weights, those of EfficientViT-SAM included, were trained with these.

    The norms are ordinary BatchNorm2d. After `eval()` they use the stored statistics, and every image is independent
    of the others in its batch; gradients still reach all parameters, so `eval()` on this module alone fine-tunes it
    with the statistics of the public weights. After `train()` they use the statistics of all images of this process
    and update the stored ones (momentum 0.1); convert with `nn.SyncBatchNorm.convert_sync_batchnorm` to share them
    between processes. Averages of parameters (EMA) do not cover the stored statistics, which are buffers.

    Args:
        widths: channels of the stem (stride 2) and of the stages at strides 4, 8 and 16.
        depths: blocks of the stem and of the stages, beside the one that halves the resolution.
        norm_eps: epsilon of the batch norms: 1e-6 for EfficientViT-SAM's weights, 1e-7 for the classifiers'.

    Raises:
        ValueError: if `widths` or `depths` do not have four entries.
    """

    def __init__(self, widths: Sequence[int] = L2_WIDTHS, depths: Sequence[int] = L2_DEPTHS, norm_eps: float = 1e-6):
        super().__init__()
        if len(widths) != 4 or len(depths) != 4:
            raise ValueError(
                f"widths {tuple(widths)} and depths {tuple(depths)} need four entries each: the stem and the stages "
                f"at strides 4, 8 and 16, as in widths={L2_WIDTHS}, depths={L2_DEPTHS}"
            )
        stem = nn.Sequential(
            ConvLayer(3, widths[0], 3, stride=2, norm_eps=norm_eps, activation=True),
            *(ResBlock(widths[0], norm_eps) for _ in range(depths[0])),
        )
        self.stages = nn.ModuleList([stem])
        for index, block in enumerate((FusedMBConv, FusedMBConv, MBConv), start=1):
            self.stages.append(_stage(block, widths[index - 1], widths[index], depths[index], norm_eps))

    def forward(
        self, images: Float[Tensor, "images 3 height width"]
    ) -> tuple[
        Float[Tensor, "images _ height//4 width//4"],
        Float[Tensor, "images _ height//8 width//8"],
        Float[Tensor, "images _ height//16 width//16"],
    ]:
        """Extract features.

        Args:
            images: [N, 3, H, W], normalised RGB; H and W are multiples of 16.

        Returns:
            Features [N, 64, H/4, W/4], [N, 128, H/8, W/8] and [N, 256, H/16, W/16] (channels of the default widths).

        Raises:
            ValueError: if H or W is not a multiple of 16.
        """
        height, width = images.shape[-2:]
        if height % OUTPUT_STRIDE or width % OUTPUT_STRIDE:
            accepted = [max(1, round(size / OUTPUT_STRIDE)) * OUTPUT_STRIDE for size in (height, width)]
            raise ValueError(
                f"images are {height}x{width} pixels; height and width must be multiples of {OUTPUT_STRIDE}: "
                f"resize or crop them, for instance to {accepted[0]}x{accepted[1]}"
            )
        stem, stage4, stage8, stage16 = self.stages
        stride4 = stage4(stem(images))
        stride8 = stage8(stride4)
        return stride4, stride8, stage16(stride8)


def _mit_key(stage: int, block: int, rest: str) -> str:
    # Every block but the first convolution is wrapped in a residual block, whose body is called `main`.
    main = "" if stage == block == 0 else "main."
    return f"stages.{stage}.op_list.{block}.{main}{rest}"


def _timm_key(stage: int, block: int, rest: str) -> str:
    if stage > 0:
        return f"stages.{stage - 1}.blocks.{block}.main.{rest}"
    return f"stem.in_conv.{rest}" if block == 0 else f"stem.res{block - 1}.main.{rest}"


@dataclass(frozen=True)
class WeightLayout:
    """How published EfficientViT-L2 weights name their tensors, and where they come from.

    Args:
        prefix: what precedes the names of the backbone.
        key: name of a tensor inside the backbone, from (stage, block, rest of our name).
        dropped: prefixes of the tensors that the feature extractor does not use.
        norm_eps: epsilon of the batch norms that the weights were trained with.
        source: where the weights are published.
        data: what they were trained on.
        weights_license: their licence.
    """

    prefix: str
    key: Callable[[int, int, str], str]
    dropped: tuple[str, ...]
    norm_eps: float
    source: str
    data: str
    weights_license: str = "Apache-2.0"

    def source_key(self, key: str) -> str:
        """The published name of one of our names, `stages.<stage>.<block>.<rest>`."""
        _, stage, block, rest = key.split(".", 3)
        return self.prefix + self.key(int(stage), int(block), rest)


# `dropped` holds, in this order: the stride-32 stage (one MBConv and eight attention blocks), then the heads.
WEIGHT_LAYOUTS = {
    "efficientvit-sam-l2": WeightLayout(
        prefix="image_encoder.backbone.",
        key=_mit_key,
        dropped=(
            "image_encoder.backbone.stages.4.",
            "image_encoder.neck.",
            "image_encoder.norm.",
            "prompt_encoder.",
            "mask_decoder.",
        ),
        norm_eps=1e-6,
        source="https://huggingface.co/mit-han-lab/efficientvit-sam",
        data="SA-1B, after distillation from SAM ViT-H",
    ),
    "efficientvit-l2": WeightLayout(
        prefix="backbone.",
        key=_mit_key,
        dropped=("backbone.stages.4.", "head."),
        norm_eps=1e-7,
        source="https://huggingface.co/han-cai/efficientvit-cls",
        data="ImageNet-1K",
    ),
    "timm-efficientvit-l2": WeightLayout(
        prefix="",
        key=_timm_key,
        dropped=("stages.3.", "head."),
        norm_eps=1e-7,
        source="https://huggingface.co/timm (efficientvit_l2)",
        data="ImageNet-1K",
    ),
}


def find_weight_layout(state_dict: Mapping[str, Tensor]) -> str:
    """Name of the layout in `WEIGHT_LAYOUTS` that a published state dict has, told by its first convolution.

    Raises:
        ValueError: if it has none of them.
    """
    first_keys = {name: layout.source_key("stages.0.0.conv.weight") for name, layout in WEIGHT_LAYOUTS.items()}
    for name, key in first_keys.items():
        if key in state_dict:
            return name
    raise ValueError(
        f"the weights are not EfficientViT-L2's: their names start with {sorted(state_dict)[:3]}; expected one of "
        f"{first_keys}. The small variants, B0 to B3 (`backbone.input_stem.*`), have another architecture."
    )


def convert_efficientvit_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename published EfficientViT-L2 weights to the names of `EfficientViTL2` with its default widths and depths.

    The stride-32 stage and all heads are dropped (`WeightLayout.dropped`); nothing else may be left over.

    Args:
        state_dict: weights of EfficientViT-SAM-L2 or of the EfficientViT-L2 classifier as published by their authors,
            or of timm's efficientvit_l2.

    Returns:
        A state dict that `EfficientViTL2(norm_eps=layout.norm_eps)` loads strictly.

    Raises:
        ValueError: if tensors are missing, unknown or of another shape, by name; or if the layout is not known.
    """
    layout = WEIGHT_LAYOUTS[find_weight_layout(state_dict)]
    with torch.device("meta"):
        expected = EfficientViTL2().state_dict()
    source_keys = {key: layout.source_key(key) for key in expected}
    missing = sorted(source for source in source_keys.values() if source not in state_dict)
    known = set(source_keys.values())
    unknown = sorted(key for key in state_dict if key not in known and not key.startswith(layout.dropped))
    if missing or unknown:
        raise ValueError(f"the weights are not EfficientViT-L2's: missing {missing}, unknown {unknown}")
    converted = {key: state_dict[source] for key, source in source_keys.items()}
    wrong = [
        f"{source_keys[key]} {tuple(tensor.shape)} instead of {tuple(expected[key].shape)}"
        for key, tensor in converted.items()
        if tensor.shape != expected[key].shape
    ]
    if wrong:
        raise ValueError(f"the weights are not EfficientViT-L2's: shape of {'; '.join(wrong)}")
    return converted
