"""LoRA adapters of LGM's cross-view attention, in peft's format.

MVBoost (arXiv 2411.17772) trains these and nothing else: the fused projection of query, key and value, and the output
projection, of all cross-view attentions. Sixteen of them in the released model: 2,654,208 weights at rank 32.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save_file
from torch import nn

from ...formats.files import new_folder


if TYPE_CHECKING:
    from peft import LoraConfig

TARGETS = r".*attns\.\d+\.attn\.(qkv|proj)"
WEIGHTS_NAME = "adapter_model.safetensors"
# peft puts this before the names of weights in its files.
PREFIX = "base_model.model."


def lgm_lora_config(rank: int = 32, alpha: int | None = None, dropout: float = 0.0) -> "LoraConfig":
    """LoRA on every cross-view attention of an `LGMModel`, and nowhere else.

    Args:
        rank: of the adapters.
        alpha: they are scaled by alpha / rank; None is the rank, a scale of 1.
        dropout: of their inputs while training.
    """
    from peft import LoraConfig

    return LoraConfig(
        r=rank, lora_alpha=rank if alpha is None else alpha, lora_dropout=dropout, bias="none", target_modules=TARGETS
    )


class LGMLoraMixin:
    """Adds, keeps, merges and removes adapters; goes before `PreTrainedModel` in a model's bases."""

    def add_lora(self, config: "LoraConfig | None" = None, adapter_name: str = "default") -> None:
        """Add a fresh adapter, which changes nothing yet, and freeze all other weights.

        Args:
            config: from `lgm_lora_config`; None for its defaults.
            adapter_name: several adapters have different names.

        Raises:
            ValueError: if there is an adapter of this name.
        """
        config = lgm_lora_config() if config is None else config
        if adapter_name in self.lora_adapters:
            raise ValueError(
                f"there is an adapter {adapter_name!r} already; give another adapter_name, or call unload_lora()"
            )
        self.add_adapter(config, adapter_name)

    @property
    def lora_adapters(self) -> list[str]:
        """Names of the adapters that the model carries."""
        return sorted(getattr(self, "peft_config", {}))

    def save_lora_weights(
        self, save_directory: Path | str, adapter_name: str = "default", overwrite: bool = False
    ) -> None:
        """Write an adapter as peft does: `adapter_config.json` and `adapter_model.safetensors`.

        Args:
            save_directory: the folder.
            adapter_name: of the adapter.
            overwrite: whether an existing folder may be replaced.

        Raises:
            ValueError: if the model has no such adapter.
        """
        from peft import get_peft_model_state_dict

        self._require_adapter(adapter_name)
        weights = get_peft_model_state_dict(self, adapter_name=adapter_name)
        weights = {PREFIX + name: value.detach().cpu().contiguous() for name, value in weights.items()}
        with new_folder(Path(save_directory), overwrite=overwrite) as folder:
            save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
            config = self.peft_config[adapter_name]
            inference_mode, config.inference_mode = config.inference_mode, True
            config.save_pretrained(folder)
            config.inference_mode = inference_mode

    def load_lora_weights(self, directory: Path | str, adapter_name: str = "default", trainable: bool = False) -> None:
        """Add an adapter that `save_lora_weights`, or peft, wrote.

        Args:
            directory: the folder.
            adapter_name: what to call it here.
            trainable: whether its weights get gradients.

        Raises:
            FileNotFoundError: if the folder has no adapter.
            ValueError: if it is not of this model: other layers, other shapes, or another rank than it says.
        """
        from peft import LoraConfig, set_peft_model_state_dict

        folder = Path(directory)
        missing = [name for name in ("adapter_config.json", WEIGHTS_NAME) if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} has no adapter: {', '.join(missing)} missing; save_lora_weights writes it"
            )
        config = LoraConfig.from_pretrained(folder)
        weights = {name.removeprefix(PREFIX): value for name, value in load_file(folder / WEIGHTS_NAME).items()}
        self._check_adapter(folder, config, {name: tuple(value.shape) for name, value in weights.items()})
        config.inference_mode = not trainable
        self.add_lora(config, adapter_name)
        set_peft_model_state_dict(self, weights, adapter_name=adapter_name)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(trainable and f".{adapter_name}." in name)

    def merge_lora(self, adapter_name: str = "default") -> None:
        """Add an adapter to the weights, and remove it: the model is a plain one again, with its output.

        Raises:
            ValueError: if the model has no such adapter.
        """
        self._require_adapter(adapter_name)
        self._remove_adapters(merged=adapter_name)

    def unload_lora(self) -> None:
        """Remove all adapters: the model is what it was before.

        Raises:
            ValueError: if it has none.
        """
        if not self.lora_adapters:
            raise ValueError("the model has no LoRA adapter to remove")
        self._remove_adapters(merged=None)

    def _remove_adapters(self, merged: str | None) -> None:
        from peft.tuners.lora import LoraLayer

        for name, layer in list(self.named_modules()):
            if isinstance(layer, LoraLayer):
                if merged is not None:
                    layer.merge(safe_merge=True, adapter_names=[merged])
                parent, _, child = name.rpartition(".")
                base = layer.get_base_layer()
                self.get_submodule(parent)._modules[child] = base
        del self.peft_config
        self._hf_peft_config_loaded = False
        self.requires_grad_(True)

    def _require_adapter(self, adapter_name: str) -> None:
        if adapter_name not in self.lora_adapters:
            raise ValueError(
                f"the model has no LoRA adapter {adapter_name!r}; it has {', '.join(self.lora_adapters) or 'none'}: "
                "call add_lora() or load_lora_weights(folder)"
            )

    def _check_adapter(self, folder: Path, config: "LoraConfig", found: dict[str, tuple[int, ...]]) -> None:
        """Every attention has its pair of matrices, of this model's widths and the stated rank."""
        wanted = {}
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear) and re.fullmatch(TARGETS, name):
                wanted[f"{name}.lora_A.weight"] = (config.r, layer.in_features)
                wanted[f"{name}.lora_B.weight"] = (layer.out_features, config.r)
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if wrong:
            name = wrong[0]
            raise ValueError(
                f"the adapter in {folder} is not one of rank {config.r} for this model: {len(wrong)} weights differ, "
                f"the first is {name}: found {found.get(name, 'nothing')}, wanted {wanted.get(name, 'nothing')}. It "
                "was made for another configuration or rank; load it into the model that it was trained with"
            )
