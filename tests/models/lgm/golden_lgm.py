"""Numbers of the official implementation with random weights, kept beside the checkout and not part of it."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from anyviews.models.lgm import LGMConfig, LGMModel, prepare_images


FOLDER = Path(__file__).resolve().parents[4] / "shared" / "golden" / "lgm"

needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"needs the official numbers in {FOLDER}")

# Symmetric: the way up is as long as the way down.
MICRO_A = {
    "input_size": 64,
    "down_channels": (32, 64),
    "down_attention": (False, True),
    "up_channels": (64, 32),
    "up_attention": (True, False),
    "output_size": 48,
}


@functools.cache
def golden(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def golden_big_keys() -> dict[str, list[int]]:
    return json.loads((FOLDER / "lgm_big_keys.json").read_text(encoding="utf-8"))


@functools.cache
def micro_a() -> LGMModel:
    model = LGMModel(LGMConfig(**MICRO_A)).eval()
    model.load_state_dict(golden("micro_a_weights"))
    return model


def golden_pixel_values(name: str) -> Tensor:
    """The images of a case as the network takes them [batch, 4, 9, size, size]."""
    images = golden(name)["images_u8"] / 255
    return prepare_images(images, size=images.shape[-1])


def recipe_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """The weight of this name, from a stream of integers that the name starts (golden/README.md)."""
    hashed = 0xCBF29CE484222325
    for byte in key.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 % 2**64
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(hashed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float32) / np.float32(8388608) - np.float32(1)
    if len(shape) >= 2:
        values = unit * np.float32(np.sqrt(3 / np.prod(shape[1:])))
    else:
        values = np.float32(0.1) * unit + np.float32(key.endswith("weight"))
    if key == "conv.bias":
        values[3], values[4:7], values[7] = -1, -3, 4
    if key.endswith("attn.qkv.weight"):
        values *= np.float32(0.5)
    return torch.from_numpy(values.reshape(shape))


def recipe_model(size: str) -> LGMModel:
    """A model of the recipe's weights, without initialising others first."""
    with torch.device("meta"):
        model = LGMModel.from_size(size)
    weights = {name: recipe_weight(name, tuple(value.shape)) for name, value in model.state_dict().items()}
    model.load_state_dict(weights, assign=True)
    return model.eval()


def flat(gaussians) -> Tensor:
    """[batch, N, 14] in the official order."""
    parts = [gaussians.means, gaussians.opacities[..., None], gaussians.scales, gaussians.rotations, gaussians.colors]
    return torch.cat(parts, dim=-1)


def assert_close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)
