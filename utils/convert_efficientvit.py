"""Convert public EfficientViT-L2 weights into an image encoder of MVGD.

    python utils/convert_efficientvit.py efficientvit_sam_l2.pt encoder

Reads the published weights of EfficientViT-SAM-L2, of the EfficientViT-L2 classifier or of timm's efficientvit_l2 and
writes a folder for `MVGDImageEncoder.from_pretrained` and `train_mvgd.py --encoder_weights`, with a source.json that
says where the weights come from and under which licence.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from anyviews.formats.files import new_folder
from anyviews.models.mvgd import MVGDImageEncoder
from anyviews.models.mvgd.efficientvit import (
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
    """Where converted weights come from, and what was dropped."""
    layout = WEIGHT_LAYOUTS[layout_name]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
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
    parser.add_argument("output", type=Path, help="the folder to write")
    options = parser.parse_args(arguments)

    state_dict = read_state_dict(options.weights)
    layout_name = find_weight_layout(state_dict)
    encoder = MVGDImageEncoder("efficientvit_l2", norm_eps=WEIGHT_LAYOUTS[layout_name].norm_eps)
    encoder.backbone.load_state_dict(convert_efficientvit_state_dict(state_dict), strict=True)
    record = provenance(options.weights, layout_name, state_dict)
    with new_folder(options.output) as folder:
        encoder.save_pretrained(folder)
        (folder / "source.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{options.output}: image encoder from {record['layout']} ({record['weights_license']})")


if __name__ == "__main__":
    main()
