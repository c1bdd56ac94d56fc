"""The code file of published checkpoints: which modules it holds, and how it gives them to Python."""

import ast
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from diffusers.utils.dynamic_modules_utils import get_relative_imports
from transformers.dynamic_module_utils import get_imports

import anyviews
from anyviews.publishing.carried_code import CarriedModules, provide, without_margin, write_once
from anyviews.publishing.modules import needed_modules
from anyviews.publishing.remote_code import remote_code
from anyviews.publishing.requirements import pip_requirements


INDEX = b'{"_class_name": "MVGDPipeline", "transformer": ["anyviews", "MVGDTransformerModel"], "_name": ["a", "b"]}'


@pytest.fixture(scope="module")
def code_file() -> str:
    return remote_code({"model_index.json": INDEX}).files["pipeline.py"].decode()


def modules_in(code: str) -> dict[str, str]:
    """The modules that a code file holds, by their path."""
    found = next(
        node.value for node in ast.parse(code).body if isinstance(node, ast.Assign) and node.targets[0].id == "MODULES"
    )
    return {name: without_margin(text) for name, text in ast.literal_eval(found).items()}


def test_modules_are_held_as_they_are(code_file):
    held = modules_in(code_file)
    home = Path(anyviews.__file__).parents[1]
    for name in ("anyviews/__init__.py", "anyviews/cameras.py", "anyviews/models/mvgd/modeling_mvgd.py"):
        assert held[name] == (home / name).read_text(encoding="utf-8")
    pipeline = Path(anyviews.pipelines.__file__).with_name("pipeline_mvgd.py")
    assert held["anyviews/pipelines/pipeline_mvgd.py"] == pipeline.read_text(encoding="utf-8")


def test_only_what_the_method_needs_is_held(code_file):
    held = modules_in(code_file)
    assert "anyviews/models/mvgd/efficientvit.py" in held, "imported inside of a function"
    folders = {name.split("/")[1] for name in held}
    assert not folders & {"cli", "training", "evaluation", "data", "viewer", "app", "publishing"}
    methods = {name.split("/")[2] for name in held if name.startswith("anyviews/models/") and name.count("/") == 3}
    assert methods == {"mvgd"}
    assert len(code_file) < 250_000


def test_tools_that_read_imports_see_none_of_the_held_modules(code_file, tmp_path):
    file = tmp_path / "pipeline.py"
    file.write_text(code_file, encoding="utf-8")
    assert get_relative_imports(file) == []
    assert set(get_imports(file)) - sys.stdlib_module_names == {"packaging"}


def test_what_must_be_installed():
    needed = needed_modules(["anyviews.pipelines.pipeline_mvdust3r"])
    assert {"torch", "transformers", "PIL"} <= needed.eager
    assert "poselib" in needed.lazy and "poselib" not in needed.eager
    assert any(text.startswith("pillow") for text in pip_requirements(needed.eager))
    assert pip_requirements(["gradio", "ast", "no_such_package"]) == ()
    assert pip_requirements(["yaml"])[0].startswith("pyyaml")  # its distribution is called PyYAML
    assert [text.partition(">")[0] for text in pip_requirements(["gradio"], extra="app")] == ["gradio"]


def test_data_of_a_package_comes_with_it():
    files = needed_modules(["anyviews.formats.viewer_page"]).files
    assert "anyviews/formats/viewer/page.html" in files and "anyviews/formats/__init__.py" in files
    assert not any("__pycache__" in name for name in files)


@pytest.mark.parametrize("index", [b'{"_class_name": "DDIMPipeline"}', b'{"_class_name": ["mine", "Mine"]}'])
def test_pipelines_of_others_bring_no_code_of_ours(index):
    assert remote_code({"model_index.json": index}) is None


def test_a_pipeline_that_was_published_before_is_published_again(code_file):
    again = remote_code({"model_index.json": INDEX.replace(b'"MVGDPipeline"', b'["pipeline", "MVGDPipeline"]')})
    assert again.files["pipeline.py"].decode() == code_file
    assert set(again.files) == {"model_index.json", "pipeline.py", "transformer/anyviews.py"}


def test_modules_are_found_where_they_were_unpacked(tmp_path):
    finder = CarriedModules()
    finder.add(
        {"anyviews/__init__.py": "", "anyviews/models/__init__.py": "", "anyviews/cameras.py": "A = 1\n"}, tmp_path
    )
    spec = finder.find_spec("anyviews.models")
    assert isinstance(spec, ModuleSpec) and spec.submodule_search_locations == [str(Path(spec.origin).parent)]
    assert Path(finder.find_spec("anyviews.cameras").origin).read_text(encoding="utf-8") == "A = 1\n"
    assert finder.find_spec("numpy") is None
    with pytest.raises(ModuleNotFoundError, match=r"anyviews\.cli is not among the modules"):
        finder.find_spec("anyviews.cli")


def test_checkpoints_share_modules_and_must_agree(tmp_path):
    finder = CarriedModules()
    finder.add({"anyviews/__init__.py": "", "anyviews/a.py": "A = 1\n"}, tmp_path)
    finder.add({"anyviews/__init__.py": "", "anyviews/b.py": "B = 2\n"}, tmp_path)
    assert {Path(finder.find_spec(f"anyviews.{name}").origin).read_text(encoding="utf-8") for name in "ab"} == {
        "A = 1\n", "B = 2\n",
    }  # fmt: skip
    with pytest.raises(ImportError, match=r"another version of anyviews/a\.py"):
        finder.add({"anyviews/a.py": "A = 3\n"}, tmp_path)


def test_files_are_written_whole_and_once(tmp_path):
    file = tmp_path / "folder" / "a.py"
    write_once(file, "first\n")
    before = file.stat().st_mtime_ns
    write_once(file, "first\n")
    assert file.stat().st_mtime_ns == before
    write_once(file, "second\n")
    assert file.read_text(encoding="utf-8") == "second\n"
    assert list(file.parent.iterdir()) == [file]


def test_the_installed_package_is_preferred(tmp_path):
    before = list(sys.meta_path)
    provide({"anyviews/__init__.py": "\n|raise SystemExit\n"}, anyviews.__version__, (), (), tmp_path)
    with pytest.warns(UserWarning, match="is used in place of 9.9"):
        provide({}, "9.9", (), (), tmp_path)
    assert sys.meta_path == before and not list(tmp_path.iterdir())


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("anyviews.publishing.carried_code.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    with pytest.raises(ImportError, match=r'pip install "no-such-package>=2"$'):
        provide({}, "1", ("torch>=1", "no-such-package>=2"), (), tmp_path)
    with pytest.warns(UserWarning, match='pip install "torch>=900" "no-such-package"'):
        provide({}, "1", ("torch>=900",), ("no-such-package",), tmp_path)
