"""The card of a freshly trained model: what made it, so that it can be made again."""

import dataclasses
import platform
from pathlib import Path

import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData

from .. import __version__
from .arguments import DataArguments, TrainingArguments


TEMPLATE = """---
{metadata}
---

# {name}

{summary}

Trained with anyviews {version} and torch {torch} on {device}. Its learning curve is in `losses.jsonl` and
`validation.jsonl`. The arguments that differ from their defaults, as a file for `--config`:

```yaml
{arguments}```

No licence is set: the one who publishes the weights chooses it.
"""


def write_card(
    folder: Path, pipeline_tag: str, tags: list[str], summary: str, arguments: TrainingArguments, data: DataArguments
) -> None:
    """Write README.md of an exported model.

    Args:
        folder: of the exported model.
        pipeline_tag: the Hub's name of the task.
        tags: of the method.
        summary: one paragraph on what the model does.
        arguments: the model was trained with.
        data: it was trained on.
    """
    metadata = ModelCardData(library_name="diffusers", pipeline_tag=pipeline_tag, tags=["anyviews", *tags])
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator().type
    else:
        device = f"{platform.machine()} CPU"
    text = TEMPLATE.format(
        metadata=metadata.to_yaml(),
        name=Path(arguments.output_dir).name,
        summary=summary,
        version=__version__,
        torch=torch.__version__,
        device=device,
        arguments=yaml.safe_dump({**changed(data), **changed(arguments)}, sort_keys=False),
    )
    ModelCard(text).save(folder / "README.md")


def changed(arguments: object) -> dict:
    """The fields of a dataclass that differ from their defaults."""
    values = {}
    for field in dataclasses.fields(arguments):
        has_factory = field.default_factory is not dataclasses.MISSING
        default = field.default_factory() if has_factory else field.default
        value = getattr(arguments, field.name)
        if value != default and field.name != "resume_from_checkpoint":
            values[field.name] = value
    return values
