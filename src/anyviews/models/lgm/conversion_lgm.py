"""What a file of the authors' LGM weights is: the configuration that it implies, and whether it is whole."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .configuration_lgm import LGM_SIZES, LGMConfig
from .modeling_lgm import LGMModel


# Of the perceptual loss, which an unfinished training run keeps beside the model.
LOSS_PREFIX = "lpips_loss."


def config_of_lgm_checkpoint(state_dict: Mapping[str, Tensor]) -> LGMConfig:
    """The configuration of official weights; names are the model's own, so that nothing is renamed.

    Raises:
        ValueError: if they are not those of one of the authors' sizes, naming what differs from the nearest.
    """
    found = {name: tuple(value.shape) for name, value in state_dict.items() if not name.startswith(LOSS_PREFIX)}
    if "unet.conv_in.weight" not in found:
        raise ValueError(
            "no checkpoint of LGM: it lacks unet.conv_in.weight. Accepted are model_fixrot.safetensors and "
            "model_fp16_fixrot.safetensors of the repository ashawkey/LGM, and the authors' other sizes"
        )
    differences = {}
    for size in ("big", "small", "tiny"):
        config = LGMConfig.from_size(size)
        with torch.device("meta"):
            wanted = {name: tuple(value.shape) for name, value in LGMModel(config).state_dict().items()}
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if not wrong:
            return config
        differences[size] = (wrong, wanted)
    size = min(differences, key=lambda name: len(differences[name][0]))
    wrong, wanted = differences[size]
    name = wrong[0]
    raise ValueError(
        f"no complete checkpoint of LGM: {len(wrong)} weights differ from the nearest size {size!r} of "
        f"{', '.join(LGM_SIZES)}, the first is {name}: found {found.get(name, 'nothing')}, wanted "
        f"{wanted.get(name, 'nothing')}"
    )


def check_lgm_weights(state_dict: Mapping[str, Tensor]) -> None:
    """Refuse weights that hold NaN or infinity, or whose type is not a floating-point one.

    Raises:
        ValueError: naming the first.
    """
    for name, value in state_dict.items():
        if not value.is_floating_point():
            raise ValueError(f"{name} holds {value.dtype}; accepted are float32, float16 and bfloat16")
        if not value.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity: the file is damaged, or was made by an overflow")
