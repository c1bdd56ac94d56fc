"""The end of a training: the exported folder, and its upload to the Hub."""

import shutil
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi

from ..publishing.repository_files import CARD, checkpoint_files, repository_files
from ..publishing.upload import upload as upload_files
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
    """Upload the exported model with its card, learning curve and code, without checkpoints and logs.

    The token is the one of `hf auth login` or HF_TOKEN; an argument for it would end up in trackers and histories.

    Returns:
        The id of the repository.

    Raises:
        FileNotFoundError: if the method exported no card.
    """
    if not (output_dir / CARD).exists():
        raise FileNotFoundError(
            f"{output_dir} has no README.md and a model without a card is not published; write one and run "
            f"hf upload {arguments.hub_model_id or output_dir.name} {output_dir}"
        )
    api = HfApi()
    repository = api.create_repo(arguments.hub_model_id or output_dir.name, exist_ok=True).repo_id
    card = (output_dir / CARD).read_text(encoding="utf-8")
    upload_files(api, repository, repository_files(checkpoint_files(output_dir), repository, card), "End of training")
    return repository
