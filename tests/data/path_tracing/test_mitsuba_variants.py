"""The variant of Mitsuba is chosen without risk for the process that chooses."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from anyviews.data.path_tracing import variants
from anyviews.data.path_tracing.denoise import require_denoiser


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """No library is named, and none was tried before."""
    monkeypatch.delenv(variants.LIBRARY_VARIABLE, raising=False)
    variants._working_library.cache_clear()
    yield
    variants._working_library.cache_clear()


@pytest.mark.parametrize(
    ("library", "version"),
    [
        ("/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1", 14),
        ("/usr/lib/x86_64-linux-gnu/libLLVM-14.0.6.so.1", 14),
        ("/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1", 19),
        ("/usr/lib/llvm-19/lib/libLLVM.so.1", 19),
        ("/usr/lib/llvm-18/lib/libLLVM.so", 18),
        ("/opt/homebrew/opt/llvm@20/lib/libLLVM.dylib", 20),
        ("/usr/lib/llvm-18/lib/libLLVMCore.a", 0),
    ],
)
def test_versions_are_read_from_names(library, version):
    assert variants.llvm_version(Path(library)) == version


def test_a_library_that_does_not_work_leaves_the_slower_variant(monkeypatch, tmp_path):
    pytest.importorskip("mitsuba")
    library = tmp_path / "libLLVM-19.so"
    library.write_bytes(b"no library")
    monkeypatch.setenv(variants.LIBRARY_VARIABLE, str(library))
    variant, why = variants.choose_variant("auto")
    assert variant == "scalar_rgb" and variants.LIBRARY_VARIABLE in why
    with pytest.raises(ValueError, match="llvm_ad_rgb does not run here"):
        variants.choose_variant("llvm_ad_rgb")


def test_the_probe_passes_where_rendering_works():
    pytest.importorskip("mitsuba")
    # the scalar variant, because it works everywhere
    probe = variants.PROBE.replace("llvm_ad_rgb", "scalar_rgb")
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_probe_that_dies_counts_as_no_library(monkeypatch, tmp_path):
    pytest.importorskip("mitsuba")
    monkeypatch.setattr(variants, "PROBE", "import os; os.abort()")
    monkeypatch.setenv(variants.LIBRARY_VARIABLE, str(tmp_path / "libLLVM-19.so"))
    assert variants.choose_variant("auto")[0] == "scalar_rgb"


def test_the_library_that_works_is_handed_on(monkeypatch, tmp_path):
    pytest.importorskip("mitsuba")
    monkeypatch.setattr(variants, "PROBE", "import os, sys; sys.exit('-20' not in os.environ['DRJIT_LIBLLVM_PATH'])")
    for version in (16, 19, 20, 21):
        (tmp_path / f"libLLVM-{version}.so").touch()
    monkeypatch.setattr(variants, "LIBRARY_FOLDERS", (str(tmp_path),))
    variant, why = variants.choose_variant("auto")
    assert variant == "llvm_ad_rgb" and why.endswith("libLLVM-20.so")
    assert [variants.llvm_version(path) for path in variants._installed_libraries()] == [21, 20, 19]


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="accepted are auto, llvm_ad_rgb, scalar_rgb"):
        variants.choose_variant("cuda")


def test_what_is_not_installed_is_named_with_its_pip_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "anyviews\[data\]"'):
        variants.choose_variant("auto")
    with pytest.raises(ImportError, match="pip install pyoidn"):
        require_denoiser()


def test_mitsuba_is_not_imported_before_it_is_used():
    loaded = "{'mitsuba', 'drjit', 'trimesh'} & set(sys.modules)"
    code = f"import sys, anyviews.data.path_tracing; sys.exit(bool({loaded}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
