"""Convert the authors' weights of MV-DUSt3R and MV-DUSt3R+ into a folder for `MVDust3rPlusModel.from_pretrained`.

    python utils/convert_mvdust3r.py MVDp_s2.pth mvdust3r-plus

Reads MVD.pth, MVDp_s1.pth, MVDp_s2.pth (or a .safetensors of the same weights), and DUSt3R with linear heads at 224
pixels; the latter with --for-training, which adds what it lacks as a fresh model has it. Optimiser states stay out.
The weights are not part of this package and are not for commercial use; the folder gets a card that says so.
"""

import argparse
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from anyviews.formats.files import new_folder
from anyviews.models.mvdust3r import (
    MVDust3rPlusConfig,
    MVDust3rPlusImageProcessor,
    MVDust3rPlusModel,
    config_of_checkpoint,
    convert_mvdust3r_state_dict,
    unused_weights,
)


# SPDX name and what is printed, by the origin of the weights.
LICENSES = {
    "MV-DUSt3R": (
        "cc-by-nc-4.0",
        "CC BY-NC 4.0 (non-commercial), with parts from DUSt3R under CC BY-NC-SA 4.0",
    ),
    "DUSt3R": ("cc-by-nc-sa-4.0", "CC BY-NC-SA 4.0 (non-commercial, share alike)"),
}

# What a training run pickles beside tensors: its arguments, and numbers of numpy. None of them runs code of the file.
ALLOWED = [
    argparse.Namespace,
    np.dtype,
    *(getattr(np.dtypes, name) for name in ("Float32DType", "Float64DType", "Int64DType", "BoolDType")),
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
]

# Parts of MV-DUSt3R+ that DUSt3R has not.
ADDED_PARTS = ("decoder.fusion_layers.", ".skip.", "_gaussian_head.")

CARD = """---
library_name: transformers
pipeline_tag: image-to-3d
license: {license}
tags:
- anyviews
- mvdust3r
---

# {name}

{method} (arXiv 2412.06974), converted from `{source_file}` of its authors by anyviews.

**Licence of these weights: {license_text}.** They are the work of the authors of {origin}; whoever passes this folder
on has to keep their licence and name them.

```python
from anyviews.models.mvdust3r import MVDust3rPlusImageProcessor, MVDust3rPlusModel

model = MVDust3rPlusModel.from_pretrained("{name}").eval()
processor = MVDust3rPlusImageProcessor.from_pretrained("{name}")
points = model(**processor(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])).points
```
"""


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Weights of a .safetensors or .pth, without reading the optimiser states beside them.

    Raises:
        ValueError: if the file has another suffix, holds objects beyond tensors and arguments, or no weights.
    """
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix not in (".pt", ".pth"):
        raise ValueError(f"{path}: expected a .pth, .pt or .safetensors file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no file of torch.save (a broken download, or older than torch 1.6?)")
    with torch.serialization.safe_globals(ALLOWED):
        refused = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if refused:
            raise ValueError(
                f"{path} holds objects that could run code when loaded: {', '.join(sorted(refused))}; accepted are "
                "tensors, numbers and argparse.Namespace, as in the authors' files"
            )
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    weights = checkpoint.get("model", checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ValueError(f"{path} has no state dict, neither as a whole nor under the name 'model'")
    return dict(weights)


def build_model(
    state_dict: Mapping[str, torch.Tensor], config: MVDust3rPlusConfig, for_training: bool
) -> MVDust3rPlusModel:
    """The model of official weights; every weight must be known and every one of the model's must be given.

    Args:
        state_dict: official names and values.
        config: from `config_of_checkpoint`.
        for_training: add the parts that DUSt3R lacks, as a fresh model has them.

    Raises:
        ValueError: naming weights that lack, are unknown or have another shape.
    """
    converted = convert_mvdust3r_state_dict(state_dict)
    if for_training:
        full = {"num_references": 4, "use_skip": True, "use_gaussians": True}
        model = MVDust3rPlusModel(MVDust3rPlusConfig.from_dict({**config.to_dict(), **full}))
        fresh = {key: value for key, value in model.state_dict().items() if any(part in key for part in ADDED_PARTS)}
        converted = {**fresh, **converted}
    else:
        with torch.device("meta"):
            model = MVDust3rPlusModel(config)
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in converted.items()}
    wrong = sorted(set(wanted.items()) ^ set(found.items()))
    if wrong:
        raise ValueError(
            f"{len({key for key, _ in wrong})} weights lack, are too many or have another shape, the first is "
            f"{wrong[0][0]}: found {found.get(wrong[0][0])}, expected {wanted.get(wrong[0][0])}"
        )
    model.load_state_dict(converted, assign=True)
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="MVD.pth, MVDp_s1.pth, MVDp_s2.pth, or DUSt3R's")
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--image-size", type=int, default=224, help="side of the training images in pixels")
    parser.add_argument("--head-dim", type=int, default=64, help="width of an attention head")
    parser.add_argument(
        "--for-training", action="store_true", help="add what DUSt3R lacks, to start a training of MV-DUSt3R+ from it"
    )
    options = parser.parse_args(arguments)

    state_dict = read_state_dict(options.weights)
    config = config_of_checkpoint(state_dict, options.image_size, options.head_dim)
    origin = "MV-DUSt3R" if config.use_skip or config.use_gaussians else "DUSt3R"
    license_id, license_text = LICENSES[origin]
    model = build_model(state_dict, config, options.for_training)
    record = {
        "source_file": options.weights.name,
        "source_sha256": _sha256(options.weights),
        "weights_license": license_text,
        "tensors": len(state_dict),
        "unused_tensors": len(unused_weights(state_dict)),
    }
    card = CARD.format(
        license=license_id,
        license_text=license_text,
        name=options.output.name,
        method="MV-DUSt3R+" if model.config.has_fusion else "MV-DUSt3R",
        source_file=options.weights.name,
        origin=origin,
    )
    with new_folder(options.output) as folder:
        model.save_pretrained(folder)
        MVDust3rPlusImageProcessor(config.image_size).save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        (folder / "source.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{options.output}: {sum(p.numel() for p in model.parameters()):,} parameters from {options.weights.name}")
    print(f"Licence of the weights: {license_text}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
