"""The end of a training: the exported folder, and its upload to the Hub."""

import shutil
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi

from .arguments import TrainingArguments


def export_whole(export: Callable[[Path], None], output_dir: Path) -> None:
    """Let `export` write into a new folder, and move what it wrote to output_dir when it is whole."""
    partial = output_dir / "export.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    export(partial)
    for entry in partial.iterdir():
        target = output_dir / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        entry.replace(target)
    partial.rmdir()


def upload(output_dir: Path, arguments: TrainingArguments) -> str:
    """Upload the exported model with its card and learning curve, without checkpoints and logs.

    The token is the one of `hf auth login` or HF_TOKEN; an argument for it would end up in trackers and histories.

    Returns:
        The id of the repository.

    Raises:
        FileNotFoundError: if the method exported no card.
    """
    if not (output_dir / "README.md").exists():
        raise FileNotFoundError(
            f"{output_dir} has no README.md and a model without a card is not published; write one and run "
            f"hf upload {arguments.hub_model_id or output_dir.name} {output_dir}"
        )
    api = HfApi()
    repository = api.create_repo(arguments.hub_model_id or output_dir.name, exist_ok=True).repo_id
    api.upload_folder(
        repo_id=repository,
        folder_path=output_dir,
        commit_message="End of training",
        ignore_patterns=["checkpoint-*/**", "logs/**", "validation/**"],
    )
    return repository
