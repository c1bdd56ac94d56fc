"""The examples in the documentation run and print what the page says."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anyviews.cli.main import VERBS
from anyviews.data import open_samples
from anyviews.formats import save_views


REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *sorted(str(page.relative_to(REPOSITORY)) for page in REPOSITORY.glob("docs/**/*.md"))]
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(text: str) -> str:
    """The prompts of a page's python blocks, each at its own line so that failures name the line of the page."""
    lines = [""] * text.count("\n")
    for block in PYTHON_BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        lines[first : first + block.group(1).count("\n")] = block.group(1).splitlines()
    return "\n".join(lines)


@pytest.mark.parametrize(
    "page",
    [
        "docs/conventions.md",
        "docs/data.md",
        "docs/formats.md",
        "docs/gaussians.md",
        "docs/meshes.md",
        "docs/metrics.md",
    ],
)
def test_examples_of_a_page_print_what_it_says(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(examples(text), {}, page, page, 0)
    output = []
    results = doctest.DocTestRunner().run(test, out=output.append)
    assert results.attempted > 0
    assert results.failed == 0, "".join(output)


def test_first_example_of_the_readme_runs(tmp_path):
    checkpoints = REPOSITORY / "checkpoints"
    if not (checkpoints / "mvgd-tiny").is_dir():
        pytest.skip("needs the checkpoint checkpoints/mvgd-tiny")
    (tmp_path / "checkpoints").symlink_to(checkpoints)
    sample = next(iter(open_samples("procedural-rooms", views=3, height=32, width=32, block=1)))
    save_views(sample.views, tmp_path / "my_photos", "cameras-json")
    script = tmp_path / "example.py"
    script.write_text(PYTHON_BLOCK.search((REPOSITORY / "README.md").read_text(encoding="utf-8"))[1])
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("novel.png", "points.ply", "path.mp4"):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_files_that_a_page_names_exist(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text))
    assert set(re.findall(r"(?:^|\W)anyviews ([a-z]+)", code)) <= set(VERBS)
    goals = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|\s)make ([a-z]+)", code)) <= goals
    scripts = set(re.findall(r"(?:training_scripts|utils)/\w+\.py", code))
    assert {script for script in scripts if not (REPOSITORY / script).exists()} == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    path = REPOSITORY / page
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing, f"{page} links to files that are not there: {missing}"
