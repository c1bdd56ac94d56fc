"""Convert a released Era3D checkpoint into a folder for `Era3DPipeline.from_pretrained`.

    python utils/convert_era3d.py MacLab-Era3D-512-6view era3d --prompt-embeddings FOLDER

Reads the folder of either release (`...-6view`, with regressors of elevation and focal length, or `...-6view-ortho`).
FOLDER holds the authors' clr_embeds.pt and normal_embeds.pt; without it the prompts are made by the text encoder that
the release contains. The weights are not part of this package; the folder gets a card that states their licence.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from anyviews.formats.files import new_folder
from anyviews.models.era3d import VIEW_AZIMUTHS, Era3DPrompts, Era3DUNetModel
from anyviews.pipelines.pipeline_era3d import Era3DPipeline


# SPDX name and what is printed, by whether the checkpoint has regressors.
LICENSES = {
    True: ("apache-2.0", "Apache-2.0"),
    False: ("cc-by-4.0", "CC BY 4.0 (name the authors)"),
}

UNET_WEIGHTS = Path("unet", "diffusion_pytorch_model.safetensors")
PARTS = (
    "feature_extractor",
    "image_encoder",
    "image_normalizer",
    "image_noising_scheduler",
    "scheduler",
    "unet",
    "vae",
)

CARD = """---
library_name: diffusers
pipeline_tag: image-to-3d
license: {license}
tags:
- anyviews
- era3d
- multi-view-diffusion
---

# {name}

Era3D (arXiv 2405.11616), converted from the authors' release `{source}` by anyviews. {variant}

**Licence of these weights: {license_text}.** They are the work of the authors of Era3D and, in what they build on, of
Stable Diffusion 2.1 unCLIP; whoever passes this folder on has to keep their licence and name them.

```python
from anyviews.pipelines.pipeline_era3d import Era3DPipeline

pipe = Era3DPipeline.from_pretrained("{name}")
views = pipe("object_with_alpha.png")
```
"""
VARIANTS = {
    True: "It estimates elevation and focal length of the input, whose views it levels.",
    False: "It has no regressors: the front view stays aligned with the input, which should have little perspective.",
}


def read_embeddings(path: Path) -> Tensor:
    """Prompt embeddings [6, tokens, width] of a .pt that holds a tensor and nothing else.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; the authors' repository has it, or leave --prompt-embeddings out"
        )
    values = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(values, Tensor) or values.ndim != 3 or len(values) != len(VIEW_AZIMUTHS):
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{path} holds {found}; expected a tensor [{len(VIEW_AZIMUTHS)}, tokens, width]")
    return values


def read_prompts(source: Path, embeddings: Path | None) -> Era3DPrompts:
    """Prompts from the authors' files, else from the text encoder of the release."""
    if embeddings is not None:
        normal, color = (read_embeddings(embeddings / f"{name}_embeds.pt") for name in ("normal", "clr"))
        return Era3DPrompts.from_embeddings(normal, color)
    tokenizer = CLIPTokenizer.from_pretrained(source / "tokenizer")
    return Era3DPrompts.from_text_encoder(tokenizer, CLIPTextModel.from_pretrained(source / "text_encoder"))


def read_pipeline(source: Path, embeddings: Path | None = None) -> Era3DPipeline:
    """The pipeline of a released folder, in the precision of its U-Net.

    Raises:
        FileNotFoundError: naming the parts that lack.
        ValueError: if the weights of the U-Net do not fit its configuration.
    """
    missing = [part for part in PARTS if not (source / part).is_dir()]
    if missing or not (source / UNET_WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{source} lacks {', '.join(missing) or UNET_WEIGHTS}; give the whole folder of the release, as in hf "
            "download pengHTYX/MacLab-Era3D-512-6view --local-dir MacLab-Era3D-512-6view"
        )
    with safe_open(source / UNET_WEIGHTS, "pt") as file:
        dtype = file.get_tensor("conv_in.weight").dtype
    return Era3DPipeline(
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(source / "image_encoder", dtype=dtype),
        feature_extractor=CLIPImageProcessorPil.from_pretrained(source / "feature_extractor"),
        image_normalizer=StableUnCLIPImageNormalizer.from_pretrained(source / "image_normalizer", torch_dtype=dtype),
        image_noising_scheduler=DDPMScheduler.from_pretrained(source / "image_noising_scheduler"),
        vae=AutoencoderKL.from_pretrained(source / "vae", torch_dtype=dtype),
        unet=Era3DUNetModel.from_pretrained(source / "unet", torch_dtype=dtype),
        prompts=read_prompts(source, embeddings).to(dtype),
        scheduler=DDIMScheduler.from_pretrained(source / "scheduler"),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of the release")
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--prompt-embeddings", type=Path, help="folder of clr_embeds.pt and normal_embeds.pt")
    options = parser.parse_args(arguments)

    pipe = read_pipeline(options.source, options.prompt_embeddings)
    regresses = pipe.unet.config.regress_elevation
    license_id, license_text = LICENSES[regresses]
    with (options.source / UNET_WEIGHTS).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = {
        "source": options.source.name,
        "unet_sha256": digest,
        "prompts": "text encoder" if options.prompt_embeddings is None else "authors' embeddings",
        "weights_license": license_text,
    }
    card = CARD.format(
        license=license_id,
        license_text=license_text,
        name=options.output.name,
        source=options.source.name,
        variant=VARIANTS[regresses],
    )
    with new_folder(options.output) as folder:
        pipe.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        (folder / "source.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    count = sum(parameter.numel() for parameter in pipe.unet.parameters())
    print(f"{options.output}: U-Net of {count:,} parameters from {options.source}")
    print(f"Licence of the weights: {license_text}.")


if __name__ == "__main__":
    main()
