"""Convert the authors' weights of LGM into a folder for `LGMModel.from_pretrained`.

    python utils/convert_lgm.py model_fp16_fixrot.safetensors lgm-big

Reads model_fixrot.safetensors and model_fp16_fixrot.safetensors of the repository ashawkey/LGM. Files without "fixrot"
in their names are refused: until April 2024 rotations were normalised over all Gaussians instead of one by one, and
weights trained so give wrong ones here, with the same names and shapes. If a renamed file is known to be of the later
kind, --rotations per-gaussian says so.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from anyviews.formats.files import new_folder
from anyviews.models.lgm import LGMModel, check_lgm_weights, config_of_lgm_checkpoint
from anyviews.models.lgm.conversion_lgm import LOSS_PREFIX


# As the card of ashawkey/LGM states it.
LICENSE = ("mit", "MIT")

CARD = """---
library_name: transformers
pipeline_tag: image-to-3d
license: {license}
tags:
- anyviews
- lgm
- gaussian-splatting
---

# {name}

LGM (arXiv 2402.05054), converted from `{source_file}` of its authors by anyviews: four images of an object to
{gaussians:,} 3D Gaussians.

**Licence of these weights: {license_text}.** They are the work of the authors of LGM; whoever passes this folder on
keeps their licence and names them.

```python
from anyviews.models.lgm import LGMModel, prepare_images

model = LGMModel.from_pretrained("{name}").eval()
gaussians = model(prepare_images(images)[None]).gaussians[0]  # images [4, 3, S, S]: front, right, back, left, on white
```
"""


def read_weights(path: Path, rotations: str | None) -> dict[str, torch.Tensor]:
    """Weights of a .safetensors file, without those of the perceptual loss.

    Args:
        path: the file.
        rotations: "per-gaussian" to accept a name without "fixrot".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another kind, damaged, or from before rotations were fixed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; download model_fp16_fixrot.safetensors of ashawkey/LGM")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a .safetensors file; the authors publish their weights as such")
    if "fixrot" not in path.name and rotations != "per-gaussian":
        raise ValueError(
            f"{path.name} is not one of the files with 'fixrot' in their names: older ones were trained with "
            "rotations normalised over all Gaussians and would give wrong ones. Take model_fixrot.safetensors or "
            "model_fp16_fixrot.safetensors; if this is one of them under another name, add --rotations per-gaussian"
        )
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged (a broken download?): {error}") from error
    return {name: value for name, value in weights.items() if not name.startswith(LOSS_PREFIX)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="model_fixrot.safetensors or model_fp16_fixrot.safetensors")
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument(
        "--dtype", choices=["float32", "float16", "bfloat16"], help="of the folder; default: the file's"
    )
    parser.add_argument("--rotations", choices=["per-gaussian"], help="accept a file without 'fixrot' in its name")
    options = parser.parse_args(arguments)

    weights = read_weights(options.weights, options.rotations)
    config = config_of_lgm_checkpoint(weights)
    check_lgm_weights(weights)
    if options.dtype is not None:
        weights = {name: value.to(getattr(torch, options.dtype)) for name, value in weights.items()}
    with torch.device("meta"):
        model = LGMModel(config)
    model.load_state_dict(weights, assign=True)
    license_id, license_text = LICENSE
    with options.weights.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    record = {
        "source_file": options.weights.name,
        "source_sha256": checksum,
        "weights_license": license_text,
        "tensors": len(weights),
    }
    card = CARD.format(
        license=license_id,
        license_text=license_text,
        name=options.output.name,
        source_file=options.weights.name,
        gaussians=config.num_views * config.splat_size**2,
    )
    with new_folder(options.output) as folder:
        model.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        (folder / "source.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{options.output}: {sum(p.numel() for p in model.parameters()):,} parameters from {options.weights.name}")
    print(f"Licence of the weights: {license_text}.")


if __name__ == "__main__":
    main()
