"""What anyviews relies on inside diffusers, and which nobody promises to keep.

If a test here fails after an upgrade of diffusers: read how `diffusers/pipelines/pipeline_loading_utils.py` now writes
(`_fetch_class_library_tuple`) and resolves (`_get_library_or_raise`, `_get_custom_components_and_folders`) the library
of a component, change src/anyviews/diffusers_registry.py alone, then run tests/hub, and only then widen the range of
diffusers in setup.py. Whatever is changed must still load model indices that say "anyviews".
"""

import importlib
import inspect
import json
import pkgutil
import re

import diffusers.pipelines
import pytest
from diffusers import ConfigMixin, ModelMixin
from diffusers.pipelines import pipeline_loading_utils as utils

import anyviews
from anyviews.diffusers_registry import LOADABLE_CLASSES, register_with_diffusers


ADVICE = f"diffusers {diffusers.__version__} has changed; see the docstring of {__name__}.py"

PRIVATE_NAMES = (
    "LOADABLE_CLASSES",
    "_fetch_class_library_tuple",
    "_get_custom_components_and_folders",
    "_get_library_or_raise",
    "simple_get_class_obj",
)


def component_classes() -> list[type]:
    """Every public class that can be part of a pipeline."""
    public = [getattr(anyviews, name) for name in anyviews.__all__]
    return [value for value in public if isinstance(value, type) and issubclass(value, ModelMixin | ConfigMixin)]


@pytest.fixture
def components() -> list[type]:
    register_with_diffusers()
    found = component_classes()
    assert {"MVGDTransformerModel", "MVGDImageEncoder", "MVGDPipeline"} <= {component.__name__ for component in found}
    return found


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_private_names_exist(name):
    assert hasattr(utils, name), f"{name} is gone: {ADVICE}"


def test_the_table_of_libraries_is_read_in_place():
    assert utils.LOADABLE_CLASSES is LOADABLE_CLASSES, ADVICE
    assert LOADABLE_CLASSES["diffusers"]["ModelMixin"] == ["save_pretrained", "from_pretrained"], ADVICE


def test_saving_records_the_package(components):
    for component in components:
        assert utils._fetch_class_library_tuple(component) == ("anyviews", component.__name__), ADVICE


def test_the_registration_is_what_makes_it_so(components, monkeypatch):
    """Fails once diffusers records external packages by itself; then the registration can shrink."""
    monkeypatch.delitem(LOADABLE_CLASSES, "anyviews")
    library, _ = utils._fetch_class_library_tuple(anyviews.MVGDTransformerModel)
    assert library == "anyviews.models.mvgd.modeling_mvgd", ADVICE


def test_loading_resolves_the_package(components):
    assert utils._get_library_or_raise("anyviews") is anyviews, ADVICE
    for component in components:
        assert utils.simple_get_class_obj("anyviews", component.__name__) is component, ADVICE


def test_repositories_may_name_the_package_without_shipping_code(components, monkeypatch):
    index = {"_class_name": "MVGDPipeline", "transformer": ["anyviews", "MVGDTransformerModel"]}
    arguments = ("user/repo", index, "", ["transformer/config.json"])
    assert utils._get_custom_components_and_folders(*arguments) == ({}, ["transformer"]), ADVICE
    monkeypatch.delitem(LOADABLE_CLASSES, "anyviews")
    monkeypatch.delattr(diffusers.pipelines, "anyviews")
    with pytest.raises(ValueError, match=re.escape("transformer/anyviews.py")):
        utils._get_custom_components_and_folders(*arguments)


def test_no_folder_has_the_name_of_a_diffusers_pipeline():
    """diffusers would record the name of such a folder in place of the package."""
    names = set()
    for folder in ("anyviews", "anyviews.models", "anyviews.pipelines"):
        names |= {module.name for module in pkgutil.iter_modules(importlib.import_module(folder).__path__)}
    assert {"models", "mvgd"} <= names
    assert [name for name in sorted(names) if hasattr(diffusers.pipelines, name)] == []


def test_registering_again_changes_nothing(components):
    before = json.dumps(LOADABLE_CLASSES)
    register_with_diffusers()
    assert json.dumps(LOADABLE_CLASSES) == before
    assert diffusers.pipelines.anyviews is anyviews


def test_a_diffusers_pipeline_of_that_name_is_refused(components, monkeypatch):
    monkeypatch.setattr(diffusers.pipelines, "anyviews", diffusers)
    with pytest.raises(ImportError, match=r"pipeline folder called 'anyviews'.*pip install"):
        register_with_diffusers()


def test_models_keep_the_save_options_that_pipelines_pass_on(components):
    """A pipeline hands variant and max_shard_size only to components whose signature has them."""
    needed = set(inspect.signature(ModelMixin.save_pretrained).parameters)
    assert {"variant", "max_shard_size", "safe_serialization"} <= needed
    for component in components:
        if issubclass(component, ModelMixin):
            missing = needed - set(inspect.signature(component.save_pretrained).parameters)
            assert not missing, f"{component.__name__}.save_pretrained hides {sorted(missing)}"


def test_the_range_in_the_error_is_the_one_that_is_installed(repository):
    ranges = {
        path.name: set(re.findall(r"diffusers>=[\d.]+,<[\d.]+", path.read_text(encoding="utf-8")))
        for path in (repository / "setup.py", repository / "src" / "anyviews" / "diffusers_registry.py")
    }
    assert len(ranges["setup.py"]) == 1
    assert ranges["setup.py"] == ranges["diffusers_registry.py"]
