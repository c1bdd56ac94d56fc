"""Checkpoints as people name them: a folder here, or a repository on the Hub."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from .photos import choose_device


Loaded = TypeVar("Loaded")


def checkpoint_files(checkpoint: str, names: Sequence[str]) -> dict[str, Path]:
    """Those of some small files that a checkpoint has, from its folder, or fetched from the Hub into the cache.

    Args:
        checkpoint: a folder, or the name of a Hub repository.
        names: of the files wanted.

    Raises:
        FileNotFoundError: if the name can only be meant as a folder, and there is none.
        OSError: if it is no repository that can be reached, nor one that the cache knows.
    """
    check_name(checkpoint)
    folder = Path(checkpoint)
    if folder.is_dir():
        return {name: folder / name for name in names if (folder / name).is_file()}
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError, RemoteEntryNotFoundError

    found, failed = {}, None
    for name in names:
        try:
            found[name] = Path(hf_hub_download(checkpoint, name))
        except RemoteEntryNotFoundError:
            continue
        # offline, also what the repository never had
        except (OSError, HFValidationError) as error:
            failed = error
    if failed is not None and not found:
        raise OSError(_not_loadable(checkpoint, failed)) from failed
    return found


def load_checkpoint(
    kind: type[Loaded], checkpoint: str, device: str, progress: bool, task: str | None = None
) -> Loaded:
    """Load a pipeline or a model onto a device.

    Args:
        kind: the class, whose `from_pretrained` reads the checkpoint.
        checkpoint: a folder, or the name of a Hub repository.
        device: of torch, or "auto" for the fastest that is there.
        progress: whether to show progress bars.
        task: what a pipeline's own bars count.

    Raises:
        ValueError: if the device is not here.
        FileNotFoundError: if there is no such checkpoint.
        OSError: if it cannot be loaded.
    """
    check_name(checkpoint)
    device = choose_device(device)
    try:
        with _loading_bars(progress):
            loaded = kind.from_pretrained(checkpoint)
    except OSError as error:
        raise OSError(_not_loadable(checkpoint, error)) from error
    if hasattr(loaded, "set_progress_bar_config"):
        loaded.set_progress_bar_config(disable=not progress, desc=task)
    return loaded.to(device)


def check_name(checkpoint: str) -> None:
    """Raise FileNotFoundError if a name is no folder here and cannot be meant as a repository."""
    folder = Path(checkpoint)
    # a repository is called owner/name
    if not folder.is_dir() and (len(folder.parts) != 2 or folder.parts[0] in ("..", ".", folder.anchor)):
        raise FileNotFoundError(f"the checkpoint {checkpoint} does not exist; give its folder or a Hub repository")


@contextmanager
def _loading_bars(shown: bool) -> Iterator[None]:
    """The bars of diffusers and of transformers while something loads; afterwards they are as they were."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    hidden = [] if shown else [diffusers_logging, transformers_logging]
    hidden = [library for library in hidden if library.is_progress_bar_enabled()]
    for library in hidden:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in hidden:
            library.enable_progress_bar()


def _not_loadable(checkpoint: str, error: Exception) -> str:
    if Path(checkpoint).is_dir():
        return f"the checkpoint {checkpoint} cannot be loaded: {error}"
    return f"the checkpoint {checkpoint} is no folder here, and cannot be loaded as a Hub repository: {error}"
