"""Example photos of each method: the sample that lies in its checkpoint, or a held-out procedural scene."""

import shutil
from pathlib import Path

from ..data.example_photos import write_example_photos


# The folder of a checkpoint that holds photos for it.
SAMPLE = "sample"
EXAMPLE = "example.zip"

# What each method takes, of `anyviews.data.example_photos`.
EXAMPLES = {"mvgd": "room", "mvdust3r": "photos", "lirm": "object", "mvboost": "photo"}


def write_example(method: str, checkpoint: str, folder: Path) -> Path:
    """Write the example of a method as a .zip file.

    Args:
        method: its name.
        checkpoint: a folder, or the name of a Hub repository.
        folder: existing.

    Returns:
        The file, EXAMPLE in `folder`.
    """
    photos = find_sample(checkpoint)
    if photos is None:
        photos = folder / "photos"
        write_example_photos(EXAMPLES[method], photos)
    return Path(shutil.make_archive(str(folder / Path(EXAMPLE).stem), "zip", photos))


def find_sample(checkpoint: str) -> Path | None:
    """The sample in a checkpoint, fetched where the checkpoint lies on the Hub, or None."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(checkpoint, allow_patterns=[f"{SAMPLE}/**"]))
        # offline, and not in the cache
        except OSError:
            return None
    sample = folder / SAMPLE
    return sample if sample.is_dir() else None
