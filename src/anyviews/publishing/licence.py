"""The licence of this package's code."""

from importlib.metadata import distribution

from .modules import PACKAGE, source_file


def licence() -> bytes:
    """Its text: an installation keeps it with its metadata, a repository at the top."""
    text = distribution(PACKAGE).read_text("licenses/LICENSE")
    return text.encode() if text else (source_file(PACKAGE).parents[2] / "LICENSE").read_bytes()
