"""The literal rendition that the benchmark compares with computes what the model and the official code compute."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from golden_mvdust3r import CASES, OUTPUTS, assert_close, golden, golden_output, needs_golden, official_model
from script_modules import load_script
from small_mvdust3r import NAMES, random_images, small_model


@pytest.fixture(scope="module")
def literal(repository: Path) -> ModuleType:
    return load_script(repository / "utils" / "literal_mvdust3r.py")


@pytest.mark.parametrize(
    "overrides",
    [{}, {"num_references": 1}, {"num_references": 4, "gaussian_colors": "pixels"}, {"use_gaussians": False}],
)
def test_it_equals_the_model(literal, overrides):
    model, images = small_model(**overrides), random_images(views=5)
    with torch.no_grad():
        found = model(images, all_paths=True)
    expected = literal.literal_forward(model, images, model.config.num_references)
    assert set(expected) == {name for name in NAMES if getattr(found, name) is not None}
    for name, value in expected.items():
        assert_close(getattr(found, name), value, 1e-5)


@needs_golden
@pytest.mark.parametrize("case", CASES)
def test_it_equals_the_official_numbers(literal, case):
    outputs = literal.literal_forward(official_model(case), golden(f"case_{case}")["images"], CASES[case])
    expected = {name: golden_output(case, name) for name in OUTPUTS}
    assert set(outputs) == {name for name, value in expected.items() if value is not None}
    for name, value in outputs.items():
        assert_close(value, expected[name], 1e-4)
