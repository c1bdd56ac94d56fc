"""Make the pictures of README.md again, each by the command that stands under it there.

python utils/readme_pictures.py            # all of them
python utils/readme_pictures.py lirm       # one
"""

import argparse
import re
import shlex
import sys
import tempfile
from pathlib import Path

from anyviews.cli.main import main as anyviews
from anyviews.cli.overview import FILE_NAME
from anyviews.formats.files import new_file


REPOSITORY = Path(__file__).resolve().parents[1]
PICTURE = re.compile(r"!\[[^\]]*\]\(docs/pictures/(?P<name>\w+)\.jpg\)<br>`anyviews (?P<command>run [^`]* -o out)`")


def readme_commands(readme: str) -> dict[str, list[str]]:
    """The words of the command of each picture, without the output folder, by the picture's name."""
    return {found["name"]: shlex.split(found["command"])[:-2] for found in PICTURE.finditer(readme)}


def make_picture(command: list[str], path: Path) -> None:
    """Run a command in a temporary folder and keep its picture."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out"
        if anyviews([*command, "--output", str(output), "--device", "cpu"]):
            sys.exit(f"readme_pictures.py: {' '.join(command)} failed")
        with new_file(path, overwrite=True) as temporary:
            temporary.write_bytes((output / FILE_NAME).read_bytes())


def main():
    commands = readme_commands((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(commands)} (default: all)")
    names = parser.parse_args().names or list(commands)
    if unknown := [name for name in names if name not in commands]:
        parser.error(f"README.md has no picture {unknown[0]}; it has {', '.join(commands)}")
    for name in names:
        # relative, as a reader of README.md types them
        command = [str(REPOSITORY / word) if word.startswith("checkpoints/") else word for word in commands[name]]
        make_picture(command, REPOSITORY / "docs" / "pictures" / f"{name}.jpg")


if __name__ == "__main__":
    main()
