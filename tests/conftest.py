"""What all tests share. This folder is on the import path, so helpers beside this file can be imported by name."""

import os
from pathlib import Path

import pytest
import torch


REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data" / "dev"


def pytest_configure() -> None:
    """One thread per worker: with as many workers as cores, more threads only make them wait for each other."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
        os.environ["NUMBA_NUM_THREADS"] = "1"  # numba's number becomes torch's with the first loop in parallel


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers in every test, whatever ran before it in this process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos with known cameras, kept beside the checkout and not part of it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the development photos in {SHARED_DATA}")
    return SHARED_DATA
