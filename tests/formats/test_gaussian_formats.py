""".splat, .spz and compressed PLY: what is lost, who else reads and writes them, and what is refused."""

import base64
import gzip
import struct
import warnings
from dataclasses import replace

import gsply
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from damaged_files import assert_refused, assert_refused_or_same, flips, truncations
from rendering.gaussians.gaussian_scenes import orbit_cameras, random_gaussians

from anyviews.formats import load_gaussians
from anyviews.formats.compressed_ply import curve_order, read_compressed_ply, write_compressed_ply
from anyviews.formats.gaussian_ply import read_gaussian_ply, write_gaussian_ply
from anyviews.formats.splat import read_splat, write_splat
from anyviews.formats.spz import read_spz, write_spz
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.rendering.gaussians import render_gaussians


FORMATS = {
    ".splat": (write_splat, read_splat),
    ".spz": (write_spz, read_spz),
    ".compressed.ply": (write_compressed_ply, read_compressed_ply),
}
every_format = pytest.mark.parametrize("ending", list(FORMATS))

# What splat-transform 2.7.1, with Niantic's code, made of the PLY file of `random_gaussians(0, 3, degree=1)`.
SPZ_OF_THE_INVENTORS = (
    "H4sIAAAAAAAAA/NzDw5gZmBgAGFGHgaG/2wMoYwMTzgZHjEyTGdmWMjCIMHCUP/9vw87Q5p9dlRba2zasvbU8trcosKC8oKiMsbLJ7f/vNHxd7IH"
    "V1kDMugAERVAugLEAADVWK/MZwAAAA=="
)


def peak_signal_to_noise(gaussians: Gaussians, expected: Gaussians) -> float:
    cameras = orbit_cameras(1, 48, 48)
    images = [render_gaussians(one, cameras, backend="reference").images for one in (gaussians, expected)]
    return -10 * torch.log10((images[0] - images[1]).square().mean()).item()


@pytest.mark.parametrize(
    ("ending", "degree", "decibels"),
    [(".splat", 0, 60), (".spz", 0, 50), (".spz", 3, 50), (".compressed.ply", 0, 60), (".compressed.ply", 3, 50)],
)
def test_what_is_read_back_looks_the_same(tmp_path, ending, degree, decibels):
    gaussians, path = random_gaussians(5, 300, degree), tmp_path / f"a{ending}"
    write, read = FORMATS[ending]
    write(gaussians, path)
    found = read(path)
    assert len(found) == 300 and found.degree == degree
    assert peak_signal_to_noise(found, gaussians) > decibels
    # the second time, hardly anything is lost
    write(found, path, overwrite=True)
    assert peak_signal_to_noise(read(path), found) > decibels + 5


@every_format
def test_torch_keeps_its_number_of_threads(tmp_path, ending):
    """numba sets that of the whole process, on which small tensors then wait."""
    write, read = FORMATS[ending]
    before = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            write(random_gaussians(0, 20, degree=1), tmp_path / f"{count}{ending}")
            read(tmp_path / f"{count}{ending}")
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def test_ply_looks_exactly_the_same(tmp_path):
    gaussians = random_gaussians(5, 300, 3)
    write_gaussian_ply(gaussians, tmp_path / "a.ply")
    found = read_gaussian_ply(tmp_path / "a.ply")
    write_gaussian_ply(found, tmp_path / "b.ply")
    assert peak_signal_to_noise(found, gaussians) > 120
    assert peak_signal_to_noise(read_gaussian_ply(tmp_path / "b.ply"), found) == float("inf")


@every_format
@pytest.mark.parametrize("size", [1e-3, 1e4])
def test_scenes_of_any_size_and_place(tmp_path, ending, size):
    """The error of a position is small against the scene, wherever it is and whatever its unit."""
    gaussians, path = random_gaussians(0, 40), tmp_path / f"a{ending}"
    gaussians = replace(gaussians, means=size * (gaussians.means + 5), scales=gaussians.scales * min(size, 1e3))
    FORMATS[ending][0](gaussians, path)
    found = FORMATS[ending][1](path)
    error = torch.cdist(gaussians.means.double(), found.means.double()).amin(1) / size
    assert error.max() < 2e-3


def test_splat_bytes(tmp_path):
    """Thirty-two bytes each: position, scales, colour with opacity, rotation; the most visible one first."""
    gaussians = Gaussians.from_colors(
        torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0]]),
        torch.tensor([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]]),
        torch.tensor([1.0, 0.5]),
        torch.tensor([[1.0, 0.0, 0.2], [2.0, -1.0, 0.4]]),
    )
    write_splat(gaussians, tmp_path / "a.splat")
    content = (tmp_path / "a.splat").read_bytes()
    assert content[:32] == struct.pack("<6f8B", 4, 5, 6, 1, 2, 3, 255, 0, 102, 128, 128, 0, 128, 128)
    assert content[32:] == struct.pack("<6f8B", 1, 2, 3, 0.1, 0.2, 0.3, 255, 0, 51, 255, 255, 128, 128, 128)
    with pytest.warns(UserWarning, match=r"b\.splat: \.splat has one colour per Gaussian; harmonics of degree 1 to 2"):
        write_splat(random_gaussians(0, 4, 2), tmp_path / "b.splat")


def raw_parts(gaussians: Gaussians) -> tuple[torch.Tensor, ...]:
    harmonics = gaussians.spherical_harmonics
    unit = F.normalize(gaussians.rotations, dim=-1)
    logits = gaussians.opacity_logits
    return gaussians.means, gaussians.log_scales, unit, logits, harmonics[:, :1], harmonics[:, 1:]


@pytest.mark.parametrize("format", ["splat", "ply_compressed", "ply"])
def test_files_of_gsplat_are_read(tmp_path, format):
    from gsplat.exporter import export_splats

    gaussians, ending = random_gaussians(3, 300, 0 if format == "splat" else 1), format.partition("_")[0]
    export_splats(*raw_parts(gaussians), format=format, save_to=str(tmp_path / f"a.{ending}"))
    # gsplat rounds .splat down, which takes half a step of colour and opacity from all
    assert peak_signal_to_noise(load_gaussians(tmp_path / f"a.{ending}"), gaussians) > (
        38 if format == "splat" else 50
    )


def test_spz_of_the_inventors_is_read(tmp_path):
    (tmp_path / "a.spz").write_bytes(base64.b64decode(SPZ_OF_THE_INVENTORS))
    found, expected = read_spz(tmp_path / "a.spz"), random_gaussians(0, 3, 1)
    torch.testing.assert_close(found.means, expected.means, atol=2e-4, rtol=0)
    torch.testing.assert_close(found.opacities, expected.opacities, atol=2e-3, rtol=0)
    # scales are right within 3 %, variances within 7 %
    torch.testing.assert_close(found.covariances(), expected.covariances(), atol=7e-4, rtol=0)
    assert expected.covariances().abs().amax((-2, -1)).min() > 4e-3
    # they keep harmonics above degree 0 to 5 bits
    torch.testing.assert_close(found.spherical_harmonics, expected.spherical_harmonics, atol=0.04, rtol=0)


def test_spz_has_the_axes_of_its_specification(tmp_path):
    gaussians = random_gaussians(0, 5, 1)
    write_spz(gaussians, tmp_path / "a.spz")
    data = gsply.read_spz(tmp_path / "a.spz")
    np.testing.assert_allclose(data.means, gaussians.means * torch.tensor([1.0, -1.0, -1.0]), atol=1e-6)
    # harmonics of degree 1 stand for y, z and x
    signs = torch.tensor([-1.0, -1.0, 1.0])[:, None]
    np.testing.assert_allclose(data.shN, gaussians.spherical_harmonics[:, 1:] * signs, atol=4.1e-3)


def test_spz_limits(tmp_path):
    gaussians = random_gaussians(0, 3)
    far = replace(gaussians, means=gaussians.means * 1e8)
    with pytest.raises(ValueError, match=r"\.spz holds coordinates up to 4194304 but the Gaussians reach"):
        write_spz(far, tmp_path / "a.spz")
    assert not list(tmp_path.iterdir())
    write_spz(replace(gaussians, means=torch.zeros(3, 3)), tmp_path / "a.spz")
    assert not read_spz(tmp_path / "a.spz").means.any()
    newer = struct.pack("<IIIBBBBI", 0x5053474E, 4, 1, 0, 12, 0, 5, 32) + bytes(200)
    (tmp_path / "b.spz").write_bytes(newer)
    with pytest.raises((ImportError, ValueError), match=r"b\.spz .*(pip install zstandard|cannot be read)"):
        read_spz(tmp_path / "b.spz")


@every_format
def test_damage_is_found(tmp_path, ending):
    write, read = FORMATS[ending]
    path = tmp_path / f"bad{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(random_gaussians(0, 9, 1), path)
    content, expected = path.read_bytes(), read(path)
    cut = (part for part in truncations(content) if ending != ".splat" or len(part) % 32 or not part)
    assert_refused(read, path, cut)

    def same(found: Gaussians) -> bool:
        return all(torch.equal(getattr(found, name), getattr(expected, name)) for name in FIELDS)

    if ending == ".spz":
        # the checksum covers all but a few bytes in front, such as the time
        assert assert_refused_or_same(read, path, flips(content, len(content)), same) > 0.9 * (len(content) - 10)
    elif ending == ".compressed.ply":
        # names of ranges are not read, only their order
        header = content.index(b"end_header") + len(b"end_header\n")
        assert assert_refused_or_same(read, path, flips(content, header, 3), same) > 0.15 * header


@every_format
def test_unusable_values_are_refused(tmp_path, ending):
    write, read = FORMATS[ending]
    gaussians, path = random_gaussians(0, 4), tmp_path / f"a{ending}"
    for wrong, message in (
        (replace(gaussians, scales=-gaussians.scales), "scales of the Gaussians hold a negative"),
        (gaussians.select(torch.zeros(4, dtype=torch.bool)), "is empty"),
        (Gaussians(**{name: getattr(gaussians, name)[None] for name in FIELDS}), "batch shape"),
    ):
        with pytest.raises(ValueError, match=message):
            write(wrong, path)
        assert not list(tmp_path.iterdir())
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"a\{ending} cannot be read|a\{ending} .*first line"):
        read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / f"gone{ending}")


def test_headers_that_gsply_would_follow_out_of_bounds_are_refused(tmp_path):
    write_compressed_ply(random_gaussians(0, 300, 1), tmp_path / "a.compressed.ply")
    content, path = (tmp_path / "a.compressed.ply").read_bytes(), tmp_path / "b.compressed.ply"
    chunk = 18 * 4
    start = content.index(b"end_header\n") + len(b"end_header\n")
    for wrong, message in (
        (content[:start].replace(b"chunk 2", b"chunk 1") + content[start + chunk :], "1 chunks of 256 for 300"),
        (content.replace(b"uchar f_rest_8", b"char f_rest_8"), "its elements are"),
        (content.replace(b"sh 300", b"sh 299")[:-9], "299 harmonics of 9 coefficients for 300 Gaussians"),
        (content.replace(b"property float max_b\n", b""), "17 properties of element 'chunk'"),
        (content.replace(b"packed_color", b"packed_colour"), "is no compressed PLY"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=rf"b\.compressed\.ply.*{message}"):
            read_compressed_ply(path)
    empty = gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, 3, 0, 0, 12, 0, 0))
    (tmp_path / "empty.spz").write_bytes(empty)
    with pytest.raises(ValueError, match=r"empty\.spz: the set of Gaussians is empty"):
        read_spz(tmp_path / "empty.spz")


def test_curve_keeps_neighbours_together():
    points = torch.rand(4000, 3)
    steps = points[curve_order(points)].diff(dim=0).norm(dim=-1)
    assert sorted(curve_order(points).tolist()) == list(range(4000))
    assert steps.mean() < 0.2 * points.diff(dim=0).norm(dim=-1).mean()
    assert curve_order(torch.ones(5, 3)).tolist() == [0, 1, 2, 3, 4]
