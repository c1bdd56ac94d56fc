import re
import time
from dataclasses import replace

import gsply
import numpy as np
import pytest
import torch
from damaged_files import assert_refused, assert_refused_or_same, flips, truncations
from hypothesis import given
from hypothesis import strategies as st
from rendering.gaussians.gaussian_scenes import random_gaussians
from strategies import property_settings, seeds

from anyviews.formats.gaussian_ply import read_gaussian_ply, write_gaussian_ply
from anyviews.formats.ply import write_ply
from anyviews.formats.ply_table import read_ply_header
from anyviews.formats.raw_gaussians import from_raw, to_raw
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.scene import PointCloud


def same(one: Gaussians, other: Gaussians) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)


@pytest.mark.parametrize("degree", range(4))
def test_file_read_and_written_again_is_the_same(tmp_path, degree):
    gaussians = random_gaussians(degree, 50, degree)
    write_gaussian_ply(gaussians, tmp_path / "a.ply")
    once = read_gaussian_ply(tmp_path / "a.ply")
    write_gaussian_ply(once, tmp_path / "b.ply")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert same(read_gaussian_ply(tmp_path / "b.ply"), once)
    for name in ("means", "rotations", "spherical_harmonics"):
        assert torch.equal(getattr(once, name), getattr(gaussians, name))
    torch.testing.assert_close(once.scales, gaussians.scales, rtol=1e-6, atol=0)
    torch.testing.assert_close(once.opacities, gaussians.opacities, rtol=1e-6, atol=0)


@property_settings
@given(seeds, st.floats(-44, 37), st.floats(0, 30))
def test_logarithms_and_logits_settle_at_once(seed, exponent, logit):
    """What is written is what was read, for scales of any size and opacities of any distance to 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    scales = 10 ** (exponent + torch.rand(2000, 3, generator=generator, dtype=torch.float64))
    opacities = (logit * torch.randn(2000, generator=generator, dtype=torch.float64)).sigmoid()
    opacities[:4] = torch.tensor([0.0, 1.0, 1e-45, 1 - 2**-24])
    gaussians = Gaussians(
        torch.zeros(2000, 3), torch.ones(2000, 4), scales.float(), opacities.float(), torch.zeros(2000, 1, 3)
    )
    raw = to_raw(gaussians)
    again = to_raw(from_raw(raw, "file"))
    assert torch.equal(raw.log_scales, again.log_scales) and torch.equal(raw.opacity_logits, again.opacity_logits)
    assert raw.log_scales.isfinite().all() and raw.opacity_logits.isfinite().all()


@pytest.mark.parametrize("degree", range(4))
def test_gsply_reads_the_same(tmp_path, degree):
    gaussians = random_gaussians(1, 30, degree)
    write_gaussian_ply(gaussians, tmp_path / "a.ply")
    data = gsply.plyread(tmp_path / "a.ply")
    np.testing.assert_array_equal(data.means, gaussians.means)
    np.testing.assert_array_equal(data.quats, gaussians.rotations)
    np.testing.assert_allclose(data.scales, gaussians.scales.log(), rtol=1e-6)
    np.testing.assert_allclose(data.opacities, gaussians.opacities.logit(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data.sh0, gaussians.spherical_harmonics[:, 0])
    np.testing.assert_array_equal(data.shN, gaussians.spherical_harmonics[:, 1:])


def test_properties_stand_in_the_original_order(tmp_path):
    write_gaussian_ply(random_gaussians(0, 3, 1), tmp_path / "a.ply")
    rest = [f"f_rest_{index}" for index in range(9)]
    scales, rotations = [f"scale_{index}" for index in range(3)], [f"rot_{index}" for index in range(4)]
    position = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert read_ply_header(tmp_path / "a.ply").properties("vertex") == [
        *position, *rest, "opacity", *scales, *rotations
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["ascii", "binary_big_endian"])
def test_other_byte_orders_and_types_are_read(tmp_path, order):
    gaussians = random_gaussians(0, 5, 1)
    write_gaussian_ply(gaussians, tmp_path / "a.ply")
    expected = read_gaussian_ply(tmp_path / "a.ply")
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    values = np.frombuffer(body, "<f4").reshape(5, -1)
    if order == "ascii":
        body = "\n".join(" ".join(repr(float(value)) for value in row) for row in values).encode()
    else:
        header, body = header.replace(b" float ", b" double "), values.astype(">f8").tobytes()
    header = header.replace(b"binary_little_endian", order.encode())
    (tmp_path / "b.ply").write_bytes(header + b"end_header\n" + body)
    assert same(read_gaussian_ply(tmp_path / "b.ply"), expected)


def test_lgm_layouts(tmp_path):
    gaussians = random_gaussians(0, 20, 1)
    flat = gaussians.with_degree(0)
    for layout in ("lgm", "lgm-raw"):
        path = tmp_path / f"{layout}.ply"
        with pytest.warns(UserWarning, match=rf"{layout}\.ply: the layout '{layout}' has one colour per Gaussian"):
            write_gaussian_ply(gaussians, path, layout)
        assert len(read_ply_header(path).properties("vertex")) == 14
        found = read_gaussian_ply(path)
        assert same(found, read_gaussian_ply(path, layout))
        torch.testing.assert_close(found.spherical_harmonics, flat.spherical_harmonics, rtol=0, atol=1e-6)
        torch.testing.assert_close(found.scales, flat.scales, rtol=1e-6, atol=0)
    # what the values do not tell, the argument does
    misread = read_gaussian_ply(tmp_path / "lgm-raw.ply", "lgm")
    torch.testing.assert_close(misread.scales, flat.scales.exp())
    for action in (
        lambda: write_gaussian_ply(flat, tmp_path / "b.ply", "raw"),
        lambda: read_gaussian_ply(path, "raw"),
    ):
        with pytest.raises((ValueError, TypeError), match="layout"):
            action()


def test_damage_is_found(tmp_path):
    write_gaussian_ply(random_gaussians(0, 6, 1), tmp_path / "good.ply")
    content, expected = (tmp_path / "good.ply").read_bytes(), read_gaussian_ply(tmp_path / "good.ply")
    path = tmp_path / "bad.ply"
    assert_refused(read_gaussian_ply, path, truncations(content))
    header = content.index(b"end_header") + len(b"end_header\n")
    refused = assert_refused_or_same(
        read_gaussian_ply, path, flips(content, header), lambda found: same(found, expected)
    )
    # names of normals, which nothing reads, are the only harmless place
    assert refused > 0.9 * header


def test_what_is_no_gaussians_is_named(tmp_path):
    gaussians = random_gaussians(0, 4)
    nan = replace(gaussians, means=torch.full((4, 3), torch.nan))
    for wrong, message in (
        (nan, "means of the Gaussians hold NaN"),
        (gaussians.select(torch.zeros(4, dtype=torch.bool)), "is empty"),
        (Gaussians(**{name: getattr(gaussians, name)[None] for name in FIELDS}), r"batch shape is \(1,\); index it"),
    ):
        with pytest.raises(ValueError, match=message):
            write_gaussian_ply(wrong, tmp_path / "a.ply")
        assert not list(tmp_path.iterdir())
    write_gaussian_ply(gaussians, tmp_path / "a.ply")
    good = (tmp_path / "a.ply").read_bytes()
    first = good.index(b"end_header\n") + len(b"end_header\n")
    not_a_number = np.float32(np.nan).tobytes()
    for content, message in (
        (good[:first] + not_a_number + good[first + 4 :], "means of the Gaussians hold NaN or infinity: 1 of 4"),
        (good.replace(b"vertex 4", b"vertex 0")[:first], "set of Gaussians is empty"),
        (good.replace(b"float rot_3", b"float rot_9"), "no property rot_3"),
        (good.replace(b"vertex 4", b"vertexx 4"), "no property x, y, z"),
        (good.replace(b"float nx", b"float f_rest_0"), r"has 1 properties f_rest_.*accepted"),
        (good.replace(b"float nx", b"list uchar float nx"), "holds lists"),
        (b"packed", "the first line is not 'ply'"),
    ):
        (tmp_path / "b.ply").write_bytes(content)
        with pytest.raises(ValueError, match=rf"b\.ply.*{message}"):
            read_gaussian_ply(tmp_path / "b.ply")
    (tmp_path / "b.ply").write_bytes(good.replace(b"float nx", b"float filter_3D"))
    with pytest.warns(UserWarning, match=r"b\.ply: properties of unknown meaning are ignored: filter_3D"):
        assert same(read_gaussian_ply(tmp_path / "b.ply"), read_gaussian_ply(tmp_path / "a.ply"))
    write_ply(PointCloud(torch.randn(3, 3), torch.rand(3, 3)), tmp_path / "points.ply")
    with pytest.raises(ValueError, match=r"points\.ply is a point cloud, not Gaussians; use load_points"):
        read_gaussian_ply(tmp_path / "points.ply")
    with pytest.raises(FileNotFoundError):
        read_gaussian_ply(tmp_path / "gone.ply")


def test_existing_files_are_kept(tmp_path):
    (tmp_path / "a.ply").write_text("mine")
    with pytest.raises(ValueError, match="overwrite"):
        write_gaussian_ply(random_gaussians(0, 4), tmp_path / "a.ply")
    assert (tmp_path / "a.ply").read_text() == "mine"
    write_gaussian_ply(random_gaussians(0, 4), tmp_path / "a.ply", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]


def test_large_files_take_a_moment(tmp_path):
    """A quarter of a million Gaussians with all harmonics (62 MB): CPU time of writing and reading."""
    gaussians = random_gaussians(0, 1000, 3)
    gaussians = Gaussians(**{name: getattr(gaussians, name).repeat_interleave(250, 0) for name in FIELDS})
    start = time.process_time()
    write_gaussian_ply(gaussians, tmp_path / "large.ply")
    written = time.process_time()
    found = read_gaussian_ply(tmp_path / "large.ply")
    assert written - start < 3 and time.process_time() - written < 3
    assert torch.equal(found.spherical_harmonics, gaussians.spherical_harmonics)


def test_files_of_the_original_lgm(golden):
    """Files that LGM's own code saved, and what its own code loads from them."""
    from safetensors.torch import load_file

    tensors = load_file(golden / "lgm" / "ply.safetensors")
    for name in ("compatible", "raw"):
        found = read_gaussian_ply(golden / "lgm" / f"gaussians_{name}.ply")
        columns = [found.means, found.opacities[:, None], found.scales, found.rotations, found.colors]
        torch.testing.assert_close(torch.cat(columns, dim=1), tensors[f"loaded_{name}"], rtol=1e-5, atol=1e-6)


def test_lgm_files_are_written_as_the_original_writes_them(golden, tmp_path):
    from safetensors.torch import load_file

    values = load_file(golden / "lgm" / "ply.safetensors")["gaussians"][0]
    gaussians = Gaussians.from_colors(values[:, :3], values[:, 7:11], values[:, 4:7], values[:, 3], values[:, 11:])
    kept = gaussians.prune(min_opacity=0.005)
    for layout, name in (("lgm", "compatible"), ("lgm-raw", "raw")):
        write_gaussian_ply(kept, tmp_path / "a.ply", layout)
        expected, found = (golden / "lgm" / f"gaussians_{name}.ply").read_bytes(), (tmp_path / "a.ply").read_bytes()
        (tmp_path / "a.ply").unlink()
        start = len(re.match(rb"(?s).*end_header\n", expected)[0])
        assert found[:start] == expected[:start] and len(found) == len(expected)
        # the original adds 1e-8 to scales, of which the smallest is 1.5e-4, and takes logarithms in 32 bits
        np.testing.assert_allclose(
            np.frombuffer(found[start:], "<f4"), np.frombuffer(expected[start:], "<f4"), rtol=1e-5, atol=2e-6
        )
