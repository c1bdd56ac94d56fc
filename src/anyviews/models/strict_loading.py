"""Checkpoints that do not fit a model are refused; diffusers warns and leaves the weights at random."""

from pathlib import Path


class StrictLoadingMixin:
    """Goes before `ModelMixin` in a model's bases."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs):
        """Load a checkpoint, see `diffusers.ModelMixin.from_pretrained`.

        Raises:
            ValueError: naming the weights that the checkpoint lacks, or has and the model does not.
        """
        with_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(pretrained_model_name_or_path, output_loading_info=True, **kwargs)
        for kind, found in (("missing_keys", "lacks"), ("unexpected_keys", "holds unknown")):
            if info[kind]:
                raise ValueError(
                    f"the checkpoint {pretrained_model_name_or_path} {found} weights of {cls.__name__}: "
                    f"{', '.join(sorted(info[kind]))}; its config.json and weights must come from the same "
                    "save_pretrained"
                )
        return (model, info) if with_info else model
