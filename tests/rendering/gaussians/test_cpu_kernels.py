"""How the CPU renderer's kernels are compiled: to vector instructions, when they are needed, and kept if possible."""

import platform
import re
import shutil
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from gaussian_scenes import orbit_cameras, random_gaussians

from anyviews.rendering.gaussians.cpu import binning, blending, compiler, lanes, projection, rasterize
from anyviews.rendering.gaussians.settings import RasterSettings


KERNELS = (
    blending.blend_tiles,
    blending.blend_tiles_backward,
    projection.project,
    projection.project_backward,
    binning.add_corners,
    binning.fill_lists,
    binning.add_pairs,
)

# Arithmetic on float32: on several at once, and on one.
ARITHMETIC = {
    "x86_64": (r"\bv?(fn?m(add|sub)\d*|mul|add|sub)ps\b", r"\bv?(fn?m(add|sub)\d*|mul|add|sub)ss\b"),
    "aarch64": (r"\bf(mla|mls|mul|add|sub)\s+v\d+\.4s", r"\bf(madd|msub|nmsub|mul|add|sub)\s+s\d+"),
}


@pytest.fixture(scope="module", autouse=True)
def used() -> None:
    """Every kernel has run, with arguments of several kinds."""
    for size in ((24, 32), (1, 1)):
        for count in (1, 40):
            for degree in (0, 3):
                gaussians, cameras = random_gaussians(1, count, degree), orbit_cameras(1, *size)
                gaussians.means.requires_grad_()
                options = RasterSettings(near=1, antialiased=degree > 0, max_alpha=0.99)
                rasterize(gaussians, cameras, torch.rand(count, 3), options).sum().backward()
                rasterize(gaussians, cameras, None, RasterSettings(extent="tiles")).sum().backward()


def packed_and_single(assembler: str) -> tuple[int, int]:
    """How many instructions compute with several float32 at once, and how many with one."""
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if machine not in ARITHMETIC:
        pytest.skip(f"the instructions of {machine} are not known here; known are {', '.join(ARITHMETIC)}")
    return tuple(len(re.findall(pattern, assembler)) for pattern in ARITHMETIC[machine])


def is_vectorised(assembler: str) -> bool:
    """Whether the loop over rows is: forward it has twenty products and sums; scalar ones stand outside of it."""
    packed, single = packed_and_single(assembler)
    return packed >= 16 and packed > single


@pytest.mark.parametrize("kernel", KERNELS[:2], ids=lambda kernel: kernel.function.__name__)
def test_blending_is_vectorised(kernel):
    # compiled anew, since a kernel that was kept cannot be inspected
    anew = compiler.helper(kernel.function)
    anew.compile(kernel.dispatcher.signatures[0])
    (assembler,) = anew.inspect_asm().values()
    assert is_vectorised(assembler), packed_and_single(assembler)


def test_scalar_code_is_told_apart():
    @compiler.helper
    def recurrence(values):
        # the arithmetic of blending, each step of which needs the one before
        result = np.float32(1)
        for value in values:
            for _ in range(3):
                result = result * value + np.float32(0.1)
                result = result * result - value
        return result

    recurrence(np.ones(8, np.float32))
    (assembler,) = recurrence.inspect_asm().values()
    assert packed_and_single(assembler)[1] > 0 and not is_vectorised(assembler)


def test_each_kernel_is_compiled_once():
    # a second signature would cost seconds at some user's first call
    assert [len(kernel.dispatcher.signatures) for kernel in KERNELS] == [1] * len(KERNELS)


def test_lanes():
    @compiler.helper
    def compute(values, out):
        row = lanes.load(values, 16)
        positive = row > np.float32(0)
        lanes.store(out, 0, lanes.choose(positive, row * row - np.float32(1), lanes.ramp()))
        lanes.store(out, 16, lanes.spread(np.float32(2)) / (row + np.float32(9)))
        both = positive & (row <= np.float32(2))
        return lanes.total(row), lanes.any_lane(both), lanes.any_lane(row >= np.float32(50))

    values, out = np.arange(-24, 24, dtype=np.float32), np.zeros(32, np.float32)
    found = compute(values, out)
    row = values[16:32]
    assert found == (row.sum(), True, False)
    np.testing.assert_array_equal(out[:16], np.where(row > 0, row * row - 1, np.arange(16)))
    np.testing.assert_allclose(out[16:], 2 / (row + 9), rtol=1e-6)


def test_exponential():
    @compiler.helper
    def compute(values, out):
        lanes.store(out, 0, blending.exponential(lanes.load(values, 0)))

    out = np.zeros(16, np.float32)
    for values in (np.linspace(-5.6, 0, 16), np.linspace(-1e-3, 0, 16)):
        compute((values / 16).astype(np.float32), out)
        np.testing.assert_allclose(out, np.exp(values), rtol=4e-6)
    compute(np.full(16, -1e30, np.float32), out)
    assert (out < 1 / 255).all() and (out >= 0).all()


def double(values):
    return values.sum() * 2


def test_kernels_are_kept_in_the_folder_and_come_back(monkeypatch, tmp_path):
    monkeypatch.setattr(compiler, "FOLDER", tmp_path)
    for hits in (0, 1):
        kernel = compiler.Kernel(double)
        assert kernel(np.ones(3)) == 6
        assert sum(kernel.dispatcher.stats.cache_hits.values()) == hits
    assert numba.config.CACHE_DIR != str(tmp_path)


def test_no_folder(monkeypatch):
    monkeypatch.setattr(compiler, "FOLDER", None)
    assert compiler.Kernel(double)(np.ones(3)) == 6


def test_folder_that_was_lost_before_the_first_call(monkeypatch, tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir()
    monkeypatch.setattr(compiler, "FOLDER", folder)
    kernel = compiler.Kernel(double)
    shutil.rmtree(folder)
    folder.write_text("not a folder")
    assert kernel(np.ones(3)) == 6


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_damaged_files(monkeypatch, tmp_path, suffix):
    monkeypatch.setattr(compiler, "FOLDER", tmp_path)
    compiler.Kernel(double)(np.ones(3))
    (damaged,) = tmp_path.rglob(f"*.{suffix}")
    damaged.write_bytes(b"\x80damaged")
    assert compiler.Kernel(double)(np.ones(3)) == 6


def test_errors_of_a_kernel_are_raised():
    with pytest.raises(numba.errors.TypingError):
        compiler.Kernel(double)("text")


def test_the_folder_is_named_for_all_sources(monkeypatch, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a.py").write_text("1")
    monkeypatch.setattr(compiler, "SOURCES", sources)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    first = compiler.cache_folder()
    assert first.is_dir() and first.parent == sources / "__pycache__"
    (sources / "b.py").write_text("2")
    assert compiler.cache_folder() != first
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "chosen"))
    assert compiler.cache_folder().parent == tmp_path / "chosen"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(sources / "a.py" / "beneath a file"))
    assert compiler.cache_folder() is None


FIRST_RENDER = """
import torch
from anyviews import Cameras, Gaussians, render_gaussians
gaussians = Gaussians.from_colors(
    torch.zeros(1, 3), torch.ones(1, 4), torch.full((1, 3), 0.1), torch.ones(1), torch.ones(1, 3)
)
pose = torch.eye(4)
pose[2, 3] = -1
cameras = Cameras.create(torch.tensor([[20.0, 0, 8], [0, 20, 8], [0, 0, 1]])[None], pose[None], 16, 16)
assert render_gaussians(gaussians, cameras, "cpu").alphas.max() > 0.9
from anyviews.rendering.gaussians.cpu import blending, compiler, projection
assert compiler.FOLDER is None
compiled = [bool(kernel.dispatcher.signatures) for kernel in (
    blending.blend_tiles, projection.project, blending.blend_tiles_backward, projection.project_backward
)]
assert compiled == [True, True, False, False], compiled
"""


def test_first_render_of_a_process_that_cannot_keep_kernels_says_nothing(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("")
    command = [sys.executable, "-W", "error::UserWarning", "-c", FIRST_RENDER]
    environment = {"NUMBA_CACHE_DIR": str(occupied), "OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
