"""Convert public EfficientViT-L2 weights into those of MVGD's image backbone.

    python utils/convert_efficientvit.py efficientvit_sam_l2.pt efficientvit_l2.safetensors

Reads the published weights of EfficientViT-SAM-L2, of the EfficientViT-L2 classifier or of timm's efficientvit_l2 and
writes those of `anyviews.models.mvgd.efficientvit.EfficientViTL2`, with a JSON of the same name that says where they
come from, under which licence, and the epsilon of the batch norms that they need.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from anyviews.models.mvgd.efficientvit import (
    L2_DEPTHS,
    L2_WIDTHS,
    WEIGHT_LAYOUTS,
    convert_efficientvit_state_dict,
    find_weight_layout,
)


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a .safetensors, or a .pt or .pth of tensors only, bare or under the name `state_dict`.

    Raises:
        ValueError: if the file has another suffix.
    """
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix not in (".pt", ".pth"):
        raise ValueError(f"{path}: expected a .safetensors, .pt or .pth file")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint.get("state_dict", checkpoint)


def provenance(path: Path, layout_name: str, state_dict: dict[str, torch.Tensor]) -> dict:
    """Where converted weights come from, what was dropped, and how to build the module that loads them."""
    layout = WEIGHT_LAYOUTS[layout_name]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "module": "anyviews.models.mvgd.efficientvit.EfficientViTL2",
        "widths": L2_WIDTHS,
        "depths": L2_DEPTHS,
        "norm_eps": layout.norm_eps,
        "layout": layout_name,
        "source": layout.source,
        "source_file": path.name,
        "source_sha256": digest,
        "weights_license": layout.weights_license,
        "data": layout.data,
        "dropped_tensors": {prefix: sum(key.startswith(prefix) for key in state_dict) for prefix in layout.dropped},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="published weights: .safetensors, .pt or .pth")
    parser.add_argument("output", type=Path, help="the .safetensors to write; a .json goes beside it")
    options = parser.parse_args(arguments)
    if options.output.suffix != ".safetensors":
        raise ValueError(f"{options.output}: the output must be a .safetensors file")

    state_dict = read_state_dict(options.weights)
    converted = {key: tensor.contiguous() for key, tensor in convert_efficientvit_state_dict(state_dict).items()}
    record = provenance(options.weights, find_weight_layout(state_dict), state_dict)

    record_path = options.output.with_suffix(".json")
    new_weights, new_record = (path.with_name(f".{path.name}.part") for path in (options.output, record_path))
    save_file(converted, new_weights, metadata={"format": "pt"})
    new_record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    new_weights.replace(options.output)
    new_record.replace(record_path)
    print(f"{options.output}: {len(converted)} tensors of {record['layout']} ({record['weights_license']})")


if __name__ == "__main__":
    main()
