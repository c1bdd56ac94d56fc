"""Names and shapes of the authors' checkpoints for networks of any size, with random values."""

from collections.abc import Iterator

import torch
from torch import Tensor


TINY = {"encoder": 32, "encoder_layers": 2, "decoder": 16, "decoder_layers": 2, "skip": 4, "hidden": 8, "patch": 4}


def official_checkpoint(
    fusion: bool = True, skip: bool = True, gaussians: bool = True, sizes: dict[str, int] = TINY
) -> dict[str, Tensor]:
    """A state dict as the authors save it; on the meta device if the sizes are the real ones."""
    modules = [*trunk(sizes, fusion), *heads(sizes, skip, gaussians)]
    weights = {"mask_token": torch.randn(1, 1, sizes["decoder"])}
    for name, weight, has_bias in modules:
        weights[f"{name}.weight"] = torch.randn(weight) * 0.3
        if has_bias:
            weights[f"{name}.bias"] = torch.randn(weight[0]) * 0.1
        if ".norm" in name and "skip_proj" in name:
            weights[f"{name}.running_mean"] = torch.randn(weight)
            weights[f"{name}.running_var"] = torch.rand(weight) + 0.5
            weights[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return weights


def trunk(sizes: dict[str, int], fusion: bool) -> Iterator[tuple[str, tuple, bool]]:
    wide, width, patch = sizes["encoder"], sizes["decoder"], sizes["patch"]
    yield "patch_embed.proj", (wide, 3, patch, patch), True
    for index in range(sizes["encoder_layers"]):
        yield from layer(f"enc_blocks.{index}", wide, ("norm1", "norm2"))
    yield "enc_norm", (wide,), True
    yield "decoder_embed", (width, wide), True
    for kind in ("dec_blocks", "dec_blocks2", *(["dec_same_view_blocks"] if fusion else [])):
        for index in range(sizes["decoder_layers"]):
            name = f"{kind}.{index}"
            yield from layer(name, width, ("norm1", "norm2", "norm3", "norm_y"))
            for part in ("projq", "projk", "projv", "proj"):
                yield f"{name}.cross_attn.{part}", (width, width), True
    yield "dec_norm", (width,), True


def layer(name: str, width: int, norms: tuple[str, ...]) -> Iterator[tuple[str, tuple, bool]]:
    for norm in norms:
        yield f"{name}.{norm}", (width,), True
    yield f"{name}.attn.qkv", (3 * width, width), True
    yield f"{name}.attn.proj", (width, width), True
    yield f"{name}.mlp.fc1", (4 * width, width), True
    yield f"{name}.mlp.fc2", (width, 4 * width), True


def heads(sizes: dict[str, int], skip: bool, gaussians: bool) -> Iterator[tuple[str, tuple, bool]]:
    width, channels, hidden, pixels = sizes["decoder"], sizes["skip"], sizes["hidden"], sizes["patch"] ** 2
    for head in ("downstream_head1", "downstream_head2"):
        yield f"{head}.proj", (4 * pixels, width), True
        if skip:
            convolutions = [(channels, 6, 3), (channels, channels, 5), (channels, channels, 5), (3, channels, 3)]
            for index, (out, into, kernel) in enumerate(convolutions):
                yield f"{head}.skip_proj.{index}.conv", (out, into, kernel, kernel), True
                yield f"{head}.skip_proj.{index}.norm", (out,), True
    if gaussians:
        for index in range(2):
            head = f"downstream_GS_head.{index}"
            yield f"{head}.norm", (width,), True
            for mlp, count in (("mlp_rgb", 3), ("mlp_opacity", 1), ("mlp_scale2", 3), ("mlp_rotation", 4)):
                yield f"{head}.{mlp}.0", (hidden, width), False
                yield f"{head}.{mlp}.2", (count * pixels, hidden), False
