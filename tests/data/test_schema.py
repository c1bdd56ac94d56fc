"""Rows of the sample schema come back as what was encoded, or say which scene and column is broken."""

import pytest
import torch

from anyviews.cameras import Cameras
from anyviews.data.pixels import DEPTH_RELATIVE_ERROR
from anyviews.data.samples import Sample
from anyviews.data.schema import ADDED_COLUMNS, SCHEMA_VERSION, decode_row, encode_sample, features
from anyviews.environment import Environment
from anyviews.views import Views


def make_views(count=3, height=10, width=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, height, width), generator=generator).float() / 255
    depths = torch.exp(6 * torch.rand(count, 1, height, width, generator=generator) - 3)
    depths[:, :, :2] = 0
    rotation = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))[0]
    pose = torch.eye(4).repeat(count, 1, 1)
    pose[:, :3, :3] = rotation * torch.linalg.det(rotation)[:, None, None]
    pose[:, :3, 3] = torch.randn(count, 3, generator=generator)
    intrinsics = torch.tensor([[11.3, 0, width / 2], [0, 10.7, height / 2], [0, 0, 1]]).repeat(count, 1, 1)
    masks = (torch.rand(count, 1, height, width, generator=generator) > 0.5).float()
    names = tuple(f"photo {i}.jpg" for i in range(count))
    return Views(images, Cameras.create(intrinsics, pose, height, width), masks, depths, names)


def test_png_round_trip():
    views = make_views()
    facts = {"scale": "metric", "licence": "cc0-1.0", "source": "a test"}
    sample = decode_row(encode_sample(Sample("kitchen", views, **facts)))
    assert sample.key == "kitchen" and sample.environment is None
    assert {name: getattr(sample, name) for name in facts} == facts
    decoded = sample.views
    assert torch.equal((decoded.images * 255).round(), (views.images * 255).round())
    assert torch.equal(decoded.images, views.images)
    assert torch.equal(decoded.masks, views.masks)
    assert torch.equal(decoded.cameras.intrinsics, views.cameras.intrinsics)
    assert torch.equal(decoded.cameras.camera_to_world, views.cameras.camera_to_world)
    assert torch.equal(decoded.cameras.image_sizes, views.cameras.image_sizes)
    assert decoded.names == views.names
    known = views.depths > 0
    assert torch.equal(decoded.depths > 0, known)
    error = (decoded.depths / views.depths - 1)[known].abs().max()
    assert DEPTH_RELATIVE_ERROR / 4 < error < DEPTH_RELATIVE_ERROR < 2e-4
    decoded.validate()


def test_the_ends_of_the_depth_range_are_kept():
    depths = torch.tensor([2.0**-16, 1.0, 2.0**16, 0.0]).reshape(1, 1, 2, 2)
    decoded = decode_row(encode_sample(Sample("a", Views(torch.zeros(1, 3, 2, 2), depths=depths)))).views
    assert torch.allclose(decoded.depths, depths, rtol=DEPTH_RELATIVE_ERROR, atol=0)


def test_values_between_8_bit_levels_are_rounded_to_the_nearest():
    images = torch.linspace(0, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    error = (decode_row(encode_sample(Sample("a", Views(images)))).views.images - images).abs().max()
    assert 0.4 / 255 < error <= 0.5 / 255 + 1e-6


def test_jpeg_is_close_and_smaller():
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64) * 0.9 + 0.05 * torch.rand(1, 3, 64, 64)
    png, jpeg = (encode_sample(Sample("a", Views(ramp)), image_format=f) for f in ("png", "jpeg"))
    assert len(jpeg["images"][0]["bytes"]) < len(png["images"][0]["bytes"]) / 2
    assert (decode_row(jpeg).views.images - ramp).abs().mean() < 0.03


def test_views_without_cameras_masks_and_depths():
    row = encode_sample(Sample("a", Views(torch.zeros(2, 3, 4, 4))))
    assert set(row) == set(features())
    assert row["schema_version"] == SCHEMA_VERSION
    decoded = decode_row(row).views
    assert decoded.cameras is None and decoded.masks is None and decoded.depths is None


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("images", {"bytes": b"\x89PNG broken", "path": None}, "scene hall: column images, view 1 cannot be decoded"),
        ("masks", {"bytes": None, "path": None}, "scene hall: column masks, view 1 cannot be decoded"),
        ("intrinsics", [[1.0]], r"scene hall: column intrinsics does not hold \(3, 3, 3\) numbers"),
    ],
)
def test_a_broken_value_is_named(column, value, message):
    row = encode_sample(Sample("hall", make_views()))
    row[column][1] = value
    with pytest.raises(ValueError, match=message):
        decode_row(row)


def test_a_truncated_image_is_named():
    row = encode_sample(Sample("hall", make_views(height=64, width=64)))
    row["images"][2]["bytes"] = row["images"][2]["bytes"][:200]
    with pytest.raises(ValueError, match="scene hall: column images, view 2 cannot be decoded"):
        decode_row(row)


def test_disagreeing_sizes_counts_and_versions_are_named():
    row = encode_sample(Sample("hall", make_views()))
    with pytest.raises(
        ValueError, match=r"column images, view 0 has shape \(3, 10, 12\) but the row says \(3, 20, 12"
    ):
        decode_row(row | {"height": 20})
    with pytest.raises(ValueError, match="scene hall: column masks has 2 entries for 3 images"):
        decode_row(row | {"masks": row["masks"][:2]})
    with pytest.raises(ValueError, match="scene hall: column images has 0 entries"):
        decode_row(row | {"images": None})
    with pytest.raises(ValueError, match=r"scene hall: column schema_version is 7 .* reads 1 and 2; install"):
        decode_row(row | {"schema_version": 7})


def test_values_that_cannot_be_stored_are_named():
    for value in (-1.0, float("nan"), 1e6, 1e-6):
        depths = torch.full((1, 1, 4, 4), value)
        with pytest.raises(ValueError, match=r"scene hall: a depth of .* accepted are 0 .* to 65536 world units"):
            encode_sample(Sample("hall", Views(torch.zeros(1, 3, 4, 4), depths=depths)))
    with pytest.raises(ValueError, match=r"scene hall: view 0: image values span \[255, 255\]"):
        encode_sample(Sample("hall", Views(torch.full((1, 3, 4, 4), 255.0))))


def make_surface(count=2, height=9, width=7):
    generator = torch.Generator().manual_seed(1)

    def levels(channels):
        return torch.randint(0, 256, (count, channels, height, width), generator=generator).float() / 255

    normals = torch.nn.functional.normalize(torch.randn(count, 3, height, width, generator=generator), dim=1)
    normals[:, :, 0] = 0
    radiance = torch.exp(3 * torch.randn(count, 3, height, width, generator=generator))
    maps = {"base_colors": levels(3), "roughness": levels(1), "metallic": levels(1)}
    return Views(levels(3), normals=normals, radiance=radiance, **maps)


def test_surface_maps_and_environment_come_back():
    views = make_surface()
    light = Environment(torch.rand(3, 4, 8) * 100)
    sample = decode_row(encode_sample(Sample("lamp", views, environment=light)))
    for name in ("base_colors", "roughness", "metallic"):
        assert torch.equal(getattr(sample.views, name), getattr(views, name)), name
    assert torch.equal(sample.views.normals[:, :, 0], views.normals[:, :, 0])
    angle = (sample.views.normals * views.normals).sum(1)[:, 1:].clamp(max=1).acos().rad2deg()
    assert angle.max() < 0.4
    for found, wanted in (
        (sample.views.radiance, views.radiance),
        (sample.environment.radiance[None], light.radiance),
    ):
        assert ((found - wanted).abs() <= wanted.amax(-3, keepdim=True) / 256).all()


def test_rows_of_version_1_are_read():
    row = encode_sample(Sample("hall", make_views()))
    old = {name: value for name, value in row.items() if name not in ADDED_COLUMNS} | {"schema_version": 1}
    decoded = decode_row(old).views
    assert decoded.normals is None and decoded.radiance is None and decoded.cameras is not None


def test_maps_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"scene hall: roughness span \[2, 2\]; accepted are 0 to 1"):
        encode_sample(Sample("hall", Views(torch.zeros(1, 3, 4, 4), roughness=torch.full((1, 1, 4, 4), 2.0))))
    with pytest.raises(ValueError, match="scene hall: normals span"):
        encode_sample(Sample("hall", Views(torch.zeros(1, 3, 4, 4), normals=torch.full((1, 3, 4, 4), torch.nan))))
