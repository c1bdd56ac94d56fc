"""Loading published pipelines, which bring code for people without this package, with the package's own code."""

from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline


class PublishedIndexMixin(DiffusionPipeline):
    """The base of this package's pipelines: where they are asked for by their class, no code of a checkpoint runs."""

    @classmethod
    def _dict_from_json_file(cls, json_file: str | Path) -> dict[str, Any]:
        """The content of an index; diffusers reads it here, from folders and from the Hub."""
        index = super()._dict_from_json_file(json_file)
        # [file, class] makes diffusers run the file, or refuse without trust_remote_code
        if isinstance(index.get("_class_name"), list):
            index["_class_name"] = index["_class_name"][-1]
        return index
