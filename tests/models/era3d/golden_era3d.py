"""Numbers of the official implementation with random weights, kept beside the checkout and not part of it."""

import functools
import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from anyviews.models.era3d import Era3DPrompts, Era3DUNetModel
from anyviews.pipelines.pipeline_era3d import Era3DPipeline


FOLDER = Path(__file__).resolve().parents[4] / "shared" / "golden" / "era3d"

needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"needs the official numbers in {FOLDER}")


@functools.cache
def golden(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def golden_json(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def golden_config(name: str, key: str) -> dict:
    """A configuration in the metadata of a file."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        return json.loads(file.metadata()[key])


@functools.cache
def official_unet() -> Era3DUNetModel:
    """The tiny U-Net with the official weights, in evaluation mode."""
    unet = Era3DUNetModel.from_config(golden_config("unet_tiny_ortho_io", "config")).eval()
    unet.load_state_dict(golden("unet_tiny_ortho_weights"))
    return unet


@functools.cache
def official_pipeline() -> Era3DPipeline:
    """The tiny pipeline with the official weights."""

    def loaded(module: torch.nn.Module, name: str) -> torch.nn.Module:
        prefix = f"{name}."
        weights = golden("pipeline_tiny_weights")
        module.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        return module.eval()

    def config(name: str) -> dict:
        return golden_config("pipeline_tiny_io", name)

    clip = CLIPVisionConfig(**config("image_encoder"))
    size = clip.image_size
    normal, color = golden("pipeline_tiny_io")["prompt_embeds"].chunk(2)
    pipe = Era3DPipeline(
        image_encoder=loaded(CLIPVisionModelWithProjection(clip), "image_encoder"),
        feature_extractor=CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size),
        image_normalizer=loaded(StableUnCLIPImageNormalizer(clip.projection_dim), "image_normalizer"),
        image_noising_scheduler=DDPMScheduler(**config("image_noising_scheduler")),
        vae=loaded(AutoencoderKL(**config("vae")), "vae"),
        unet=official_unet(),
        prompts=Era3DPrompts.from_embeddings(normal, color),
        scheduler=DDIMScheduler(**config("scheduler")),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def assert_close(actual: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)
