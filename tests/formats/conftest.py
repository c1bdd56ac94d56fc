"""Small photos, points and scenes that every format can hold."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from format_views import eight_bits, pinhole_views

from anyviews.scene import PointCloud, Scene
from anyviews.views import Views


@pytest.fixture
def views() -> Views:
    return pinhole_views()


@pytest.fixture
def points() -> PointCloud:
    return PointCloud(torch.randn(7, 3), eight_bits(torch.rand(7, 3)))


@pytest.fixture
def scene(views, points) -> Scene:
    return Scene(
        views.cameras,
        views.images,
        views.depths,
        depth_uncertainty=0.1 * torch.rand_like(views.depths),
        points=replace(points, confidence=torch.rand(7)),
        names=("a", "b", "c"),
        scale="metric",
    )


@pytest.fixture(scope="session")
def golden(repository) -> Path:
    """Files and values that the original implementations wrote, kept beside the checkout and not part of it."""
    folder = repository.parent / "shared" / "golden"
    if not folder.is_dir():
        pytest.skip(f"needs the original implementations' values in {folder}")
    return folder
