"""Loading a pipeline from a folder that holds its model alone, as training scripts and converters write it."""

import torch

from .published_index import PublishedIndexMixin


# Where and how files are found, which loading the parts alone needs as loading the whole does.
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")


class ModelOnlyLoadingMixin(PublishedIndexMixin):
    """For pipelines of a model and an image processor; the latter is made for the model where there is none.

    A subclass names its `model_class` and its `image_processor_class`, which is made from the model's image size.
    """

    model_class: type
    image_processor_class: type

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Load a pipeline; also one of which only the model is there.

        Raises:
            ValueError: if the checkpoint is of another method.
            OSError: if there is none.
        """
        name, config_class = str(pretrained_model_name_or_path), cls.model_class.config_class
        options = {key: kwargs[key] for key in HUB_OPTIONS if key in kwargs}
        try:
            return super().from_pretrained(name, **kwargs)
        except OSError as error:
            try:
                kind = config_class.get_config_dict(name, **options)[0].get("model_type")
            except OSError:
                raise error from None
        wanted = config_class.model_type
        if kind != wanted:
            raise ValueError(f"{name} holds a model of type {kind!r}; {cls.__name__} needs one of type {wanted!r}")
        dtype = kwargs.get("torch_dtype", kwargs.get("dtype", torch.float32))
        model = cls.model_class.from_pretrained(name, dtype=dtype, **options).eval()
        try:
            processor = cls.image_processor_class.from_pretrained(name, **options)
        except OSError:
            processor = cls.image_processor_class(model.config.image_size)
        return cls(model, processor)
