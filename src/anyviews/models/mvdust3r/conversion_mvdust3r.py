"""Names and shapes of the authors' checkpoints, and how they become those of `MVDust3rPlusModel`."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .configuration_mvdust3r import MVDust3rPlusConfig


# Weights that the network never uses: of masked pretraining, and the colours of Gaussians, which are those of pixels.
UNUSED = ("mask_token", "downstream_GS_head.0.mlp_rgb.", "downstream_GS_head.1.mlp_rgb.")

# References are not recorded in a checkpoint; the authors always use four.
REFERENCES_WITH_FUSION = 4

MODULES = (
    (r"patch_embed\.proj", "patch_embedding"),
    (r"enc_blocks\.(\d+)", r"encoder_layers.\1"),
    (r"enc_norm", "encoder_norm"),
    (r"decoder_embed", "encoder_to_decoder"),
    (r"dec_blocks\.(\d+)", r"decoder.reference_layers.\1"),
    (r"dec_blocks2\.(\d+)", r"decoder.source_layers.\1"),
    (r"dec_same_view_blocks\.(\d+)", r"decoder.fusion_layers.\1"),
    (r"dec_norm", "decoder.norm"),
    (r"downstream_head1", "reference_point_head"),
    (r"downstream_head2", "source_point_head"),
    (r"downstream_GS_head\.0", "reference_gaussian_head"),
    (r"downstream_GS_head\.1", "source_gaussian_head"),
)

# Inside encoder layers norm2 comes before the MLP; inside decoder layers, before cross-attention.
ENCODER_PARTS = {"norm1": "self_norm", "norm2": "mlp_norm"}
DECODER_PARTS = {
    "norm1": "self_norm",
    "norm2": "cross_norm",
    "norm3": "mlp_norm",
    "norm_y": "context_norm",
    "cross_attn.projq": "cross_attention.query",
    "cross_attn.projk": "cross_attention.key_value",
    "cross_attn.projv": "cross_attention.key_value",
    "cross_attn.proj": "cross_attention.out",
}
LAYER_PARTS = {
    "attn.qkv": "self_attention.qkv",
    "attn.proj": "self_attention.out",
    "mlp.fc1": "mlp.up",
    "mlp.fc2": "mlp.down",
}
GAUSSIAN_MLPS = {"mlp_rgb": "color", "mlp_opacity": "opacity", "mlp_scale2": "scale", "mlp_rotation": "rotation"}


def config_of_checkpoint(
    state_dict: Mapping[str, Tensor], image_size: int = 224, head_dim: int = 64, gaussian_colors: str = "pixels"
) -> MVDust3rPlusConfig:
    """The configuration that the names and shapes of an official checkpoint imply.

    Args:
        state_dict: its weights.
        image_size: side of the training images in pixels, which weights do not tell.
        head_dim: width of an attention head, which they do not tell either; it is 64 in every release.
        gaussian_colors: "pixels", or "head" to predict them, which no release does.

    Raises:
        ValueError: if these are not weights of MV-DUSt3R, MV-DUSt3R+ or DUSt3R with linear heads.
    """
    needed = (
        "patch_embed.proj.weight",
        "decoder_embed.weight",
        "dec_blocks2.0.norm1.weight",
        "downstream_head1.proj.weight",
    )
    missing = [key for key in needed if key not in state_dict]
    if missing:
        raise ValueError(
            f"no checkpoint of MV-DUSt3R: it lacks {', '.join(missing)}. Accepted are MVD.pth, MVDp_s1.pth and "
            "MVDp_s2.pth, and DUSt3R with linear heads"
        )
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    encoder_width, _, patch_size, _ = shapes["patch_embed.proj.weight"]
    decoder_width = shapes["decoder_embed.weight"][0]
    fused = "dec_same_view_blocks.0.norm1.weight" in shapes
    options = {
        "image_size": image_size,
        "patch_size": patch_size,
        "encoder_hidden_size": encoder_width,
        "encoder_num_heads": encoder_width // head_dim,
        "encoder_num_layers": _count_layers(shapes, "enc_blocks"),
        "decoder_hidden_size": decoder_width,
        "decoder_num_heads": decoder_width // head_dim,
        "decoder_num_layers": _count_layers(shapes, "dec_blocks"),
        "mlp_ratio": shapes["dec_blocks.0.mlp.fc1.weight"][0] // decoder_width,
        "num_references": REFERENCES_WITH_FUSION if fused else 1,
        "use_skip": "downstream_head1.skip_proj.0.conv.weight" in shapes,
        "use_gaussians": "downstream_GS_head.0.norm.weight" in shapes,
    }
    if options["use_skip"]:
        options["skip_hidden_size"] = shapes["downstream_head1.skip_proj.0.conv.weight"][0]
    if options["use_gaussians"]:
        hidden, _ = shapes["downstream_GS_head.0.mlp_rgb.0.weight"]
        coefficients = shapes["downstream_GS_head.0.mlp_rgb.2.weight"][0] // (3 * patch_size**2)
        options.update(
            gaussian_colors=gaussian_colors, gaussian_hidden_size=hidden, harmonics_degree=round(coefficients**0.5) - 1
        )
    return MVDust3rPlusConfig(**options)


def unused_weights(state_dict: Mapping[str, Tensor], gaussian_colors: str = "pixels") -> list[str]:
    """The weights of an official checkpoint that no part of the network runs."""
    prefixes = UNUSED if gaussian_colors == "pixels" else UNUSED[:1]
    return [key for key in state_dict if key.startswith(prefixes)]


def convert_mvdust3r_state_dict(
    state_dict: Mapping[str, Tensor], gaussian_colors: str = "pixels"
) -> dict[str, Tensor]:
    """Official names to those of `MVDust3rPlusModel`; keys and values of cross-attention become one matrix.

    Args:
        state_dict: all weights of an official checkpoint.
        gaussian_colors: "pixels" leaves the weights of predicted colours out, which no release uses; "head" keeps
            them.

    Raises:
        ValueError: naming the keys that are not known.
    """
    parts: dict[str, list[Tensor]] = {}
    unknown = []
    # sorted: projk comes before projv
    for key in sorted(state_dict.keys() - set(unused_weights(state_dict, gaussian_colors))):
        name = _converted_name(key)
        if name is None:
            unknown.append(key)
        else:
            parts.setdefault(name, []).append(state_dict[key])
    if unknown:
        raise ValueError(f"{len(unknown)} unknown weights, the first are {', '.join(unknown[:5])}")
    return {name: tensors[0] if len(tensors) == 1 else torch.cat(tensors) for name, tensors in parts.items()}


def _converted_name(key: str) -> str | None:
    for pattern, module in MODULES:
        match = re.match(pattern + r"\.", key)
        if match is not None:
            part, _, leaf = key[match.end() :].rpartition(".")
            part = _converted_part(match.expand(module), part)
            return None if part is None else ".".join(filter(None, (match.expand(module), part, leaf)))
    return None


def _converted_part(module: str, part: str) -> str | None:
    """The part of a module by its new name; None if it is not known."""
    if module.startswith("encoder_layers"):
        return (LAYER_PARTS | ENCODER_PARTS).get(part)
    if module.startswith("decoder.") and module != "decoder.norm":
        return (LAYER_PARTS | DECODER_PARTS).get(part)
    if module.endswith("point_head"):
        match = re.fullmatch(r"skip_proj\.(\d)\.(conv|norm)", part)
        return "projection" if part == "proj" else match and match.expand(r"skip.layers.\1.\2")
    if module.endswith("gaussian_head") and part != "norm":
        name, _, index = part.partition(".")
        return f"mlps.{GAUSSIAN_MLPS[name]}.{'up' if index == '0' else 'down'}" if name in GAUSSIAN_MLPS else None
    return part


def _count_layers(shapes: Mapping[str, tuple], prefix: str) -> int:
    return len({key.split(".")[1] for key in shapes if key.startswith(f"{prefix}.")})
