"""Convert the published weights of LPIPS into a folder that `LPIPS.from_pretrained` reads.

    python utils/convert_lpips.py vgg lpips-vgg vgg16-397923af.pth vgg.pth
    python utils/convert_lpips.py alex lpips-alex alexnet-owt-7be5be79.pth alex.pth

The first file is the ImageNet network as torchvision publishes it, the second the heads that the authors of LPIPS
publish (version 0.1). One file that holds both, a saved `lpips.LPIPS`, is accepted too. Only tensors are read.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from anyviews.formats.files import new_folder
from anyviews.rendering.lpips import LPIPS, NETS


# "features.28.weight" in torchvision, "net.slice5.28.weight" in the authors' module; the number counts rectifiers and
# reductions too, so that only its order matters
CONVOLUTION = re.compile(r"(?:features|net\.slice\d+)\.(\d+)\.(weight|bias)$")
HEAD = re.compile(r"(?:lin|lins\.)(\d)\.model\.1\.weight$")

LICENSES = "backbone: BSD-3-Clause (torchvision), trained on ImageNet; heads: BSD-2-Clause (Zhang et al.)"


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a .safetensors, or a .pt or .pth of tensors only."""
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def convert_state_dict(published: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published tensors under the names of `LPIPS`; those of neither the convolutions nor the heads are dropped.

    Raises:
        ValueError: if there are no convolutions, or no heads.
    """
    convolutions = {
        match.groups(): tensor for name, tensor in published.items() if (match := CONVOLUTION.search(name))
    }
    heads = {match[1]: tensor for name, tensor in published.items() if (match := HEAD.search(name))}
    for found, kind, wanted in (
        (convolutions, "network", "features.0.weight (torchvision) or net.slice1.0.weight"),
        (heads, "heads", "lin0.model.1.weight"),
    ):
        if not found:
            raise ValueError(
                f"the files hold no {kind}: no tensor is called {wanted}; found {', '.join(list(published)[:4])} ... "
                "Give both the network's file and that of the heads"
            )
    order = {index: position for position, index in enumerate(sorted({int(index) for index, _ in convolutions}))}
    return {
        **{f"convolutions.{order[int(index)]}.{kind}": tensor for (index, kind), tensor in convolutions.items()},
        **{f"heads.{index}": tensor.flatten() for index, tensor in heads.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert one network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=list(NETS))
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("weights", type=Path, nargs="+", help="published files: .safetensors, .pt or .pth")
    options = parser.parse_args(arguments)

    published = {name: tensor for path in options.weights for name, tensor in read_tensors(path).items()}
    names = ", ".join(path.name for path in options.weights)
    model = LPIPS(options.net).load_weights(convert_state_dict(published), names)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in options.weights}
    record = {"net": options.net, "version": "0.1", "sha256": digests, "weights_license": LICENSES}
    with new_folder(options.output) as folder:
        model.save_pretrained(folder)
        (folder / "source.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{options.output}: LPIPS with net {options.net} ({LICENSES})")


if __name__ == "__main__":
    main()
