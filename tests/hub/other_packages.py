"""An environment that has all that is installed here, but not this package: run `python -S` with it as PYTHONPATH."""

import sysconfig
from pathlib import Path


def link_other_packages(folder: Path) -> Path:
    """Make a folder of links to all installed packages but this one."""
    folder.mkdir()
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "anyviews" not in entry.name and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder
