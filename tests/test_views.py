"""Invariants of views and of the record of crops and resizes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    assert_close,
    property_settings,
    random_cameras,
    random_pixels,
    random_views,
    seeds,
    sizes,
    unchecked_shapes,
)

from anyviews.scene import Scene
from anyviews.views import CropRecord, Views


FIELDS = ("images", "masks", "depths")
permutations = st.permutations(range(4))


def edited(views: Views, seed: int, height: int, width: int) -> Views:
    """Views after a random crop, a resize, another crop and a fit."""
    top, left = seed % 5, seed % 7
    views = views.crop(top, left, views.height - top - 2, views.width - left - 1)
    views = views.resize(2 * height, width + 3).crop(1, 2, height, width)
    return views.fit(height, width)


@property_settings
@given(seeds, sizes, sizes)
def test_fitting_is_undone_by_original_cameras(seed, height, width):
    views = random_views(seed, 3, dtype=torch.float64)
    fitted = views.fit(height, width)
    assert fitted.images.shape == (3, 3, height, width)
    assert fitted.masks.shape == fitted.depths.shape == (3, 1, height, width)
    assert (fitted.cameras.height, fitted.cameras.width) == (height, width)
    for changed in (fitted, edited(views, seed, height, width)):
        original = changed.original_cameras()
        # the record is float32
        torch.testing.assert_close(original.intrinsics, views.cameras.intrinsics, atol=1e-3, rtol=1e-5)
        assert torch.equal(original.camera_to_world, views.cameras.camera_to_world)
        assert torch.equal(original.image_sizes, views.cameras.image_sizes)


@property_settings
@given(seeds, sizes, sizes)
def test_fitting_keeps_the_aspect_ratio_up_to_a_pixel_and_the_centre(seed, height, width):
    record = random_views(seed, 1).fit(height, width).record
    window = torch.tensor([width, height]) / record.scale[0]  # in original pixels
    assert window[0] <= 32 + 1e-3
    assert window[1] <= 24 + 1e-3
    assert (window / torch.tensor([32, 24])).amax() == pytest.approx(1)  # as large as possible
    wanted = min(32, 24 * width / height), min(24, 32 * height / width)
    assert (window - torch.tensor(wanted)).abs().amax() <= 0.5 + 1e-3
    center = record.to_original(torch.tensor([[[width / 2, height / 2]]]))[0, 0]
    assert (center - torch.tensor([16.0, 12.0])).abs().amax() <= 0.5 + 1e-3


@property_settings
@given(seeds, sizes, sizes)
def test_the_record_maps_a_world_point_between_the_images(seed, height, width):
    views = random_views(seed, 3)
    pixels, depth = random_pixels(seed, views.cameras)
    points = views.cameras.unproject(pixels, depth)
    now = edited(views, seed, height, width)
    current, current_depth = now.cameras.project(points)
    assert_close(now.record.to_current(pixels), current, scale=100)
    assert_close(now.record.to_original(current), pixels, scale=100)
    assert_close(current_depth, depth)


@property_settings
@given(seeds, sizes, sizes)
def test_record_maps_are_inverse_and_compose(seed, height, width):
    pixels = random_pixels(seed, random_cameras(seed, 3, dtype=torch.float32))[0]
    record = edited(random_views(seed, 3), seed, height, width).record
    assert_close(record.to_original(record.to_current(pixels)), pixels, scale=32)
    scale, offset = torch.full((3, 2), 0.5), torch.full((3, 2), 3.0)
    assert_close(record.then(scale, offset).to_current(pixels), record.to_current(pixels) * 0.5 + 3, scale=32)
    assert torch.equal(record.original_sizes, torch.tensor([[24, 32]] * 3))


@property_settings
@given(seeds)
def test_crops_and_resizes_keep_the_image_content_at_the_recorded_place(seed):
    """An image whose colour is its own pixel position says where each pixel came from."""
    y, x = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    views = Views(torch.stack([x / 32, y / 24, torch.zeros_like(x)])[None])
    now = views.crop(seed % 6, seed % 9, 16, 20).resize(8, 10).resize(12, 15)
    inner = now.images[0, :2, 3:-3, 3:-3].permute(1, 2, 0)  # interpolation is one-sided at the border
    y, x = torch.meshgrid(torch.arange(3, 9) + 0.5, torch.arange(3, 12) + 0.5, indexing="ij")
    origin = now.record.to_original(torch.stack([x, y], dim=-1).reshape(1, -1, 2)).reshape(6, 9, 2)
    torch.testing.assert_close(inner * torch.tensor([32, 24]), origin, atol=1e-3, rtol=0)


@property_settings
@given(seeds, sizes, sizes)
def test_cropping_picks_pixels_and_depth_is_never_blended(seed, height, width):
    views = random_views(seed, 2)
    window = views.crop(2, 3, 11, 13)
    for field in FIELDS:
        assert torch.equal(getattr(window, field), getattr(views, field)[..., 2:13, 3:16])
    assert torch.isin(views.resize(height, width).depths, views.depths).all()


@property_settings
@given(seeds, permutations)
def test_permuting_views_commutes_with_everything(seed, order):
    views = random_views(seed, 4)
    order = list(order)
    permuted_last, permuted_first = edited(views, seed, 9, 14)[order], edited(views[order], seed, 9, 14)
    for field in (*FIELDS, "names"):
        a, b = getattr(permuted_last, field), getattr(permuted_first, field)
        assert a == b if field == "names" else torch.equal(a, b)
    for a, b in (
        (permuted_last.cameras, permuted_first.cameras),
        (permuted_last.original_cameras(), permuted_first.original_cameras()),
    ):
        assert torch.equal(a.intrinsics, b.intrinsics)
        assert torch.equal(a.camera_to_world, b.camera_to_world)
    assert torch.equal(permuted_last.record.offset, permuted_first.record.offset)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (2, [2]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        ([3, 0], [3, 0]),
        (torch.tensor([1, 1]), [1, 1]),
        (torch.tensor([True, False, False, True]), [0, 3]),
    ],
)
def test_indexing_keeps_the_view_dimension_and_all_fields_together(index, expected):
    views = random_views(0, 4).fit(12, 16)
    views = replace(views, record=replace(views.record, offset=torch.arange(8.0).reshape(4, 2)))
    picked = views[index]
    assert len(picked) == len(expected)
    assert picked.names == tuple(views.names[i] for i in expected)
    for field in FIELDS:
        assert torch.equal(getattr(picked, field), getattr(views, field)[expected])
    assert torch.equal(picked.cameras.intrinsics, views.cameras.intrinsics[expected])
    assert torch.equal(picked.record.offset, views.record.offset[expected])


def test_indexing_outside_raises():
    with pytest.raises(IndexError):
        random_views(0, 2)[2]


@property_settings
@given(seeds)
def test_cat_undoes_splitting(seed):
    views = random_views(seed, 4).fit(10, 10)
    joined = Views.cat([views[:1], views[1:]])
    for field in FIELDS:
        assert torch.equal(getattr(joined, field), getattr(views, field))
    assert joined.names == views.names
    assert torch.equal(joined.cameras.camera_to_world, views.cameras.camera_to_world)
    assert torch.equal(joined.record.scale, views.record.scale)


def test_cat_drops_fields_that_some_lack():
    views = random_views(0, 2)
    joined = Views.cat([views, replace(views, masks=None, cameras=None)])
    assert joined.masks is None
    assert joined.cameras is None
    assert joined.depths.shape == (4, 1, 24, 32)


def test_defaults_are_untouched_photos():
    views = Views(torch.rand(2, 3, 4, 6))
    assert views.names == ("view 0", "view 1")
    pixels = torch.rand(2, 5, 2)
    assert torch.equal(views.record.to_original(pixels), pixels)
    assert views.record.original_sizes.tolist() == [[4, 6], [4, 6]]
    assert torch.equal(CropRecord.identity(torch.tensor([[4, 6]])).to_current(pixels[:1]), pixels[:1])
    assert views.crop(0, 0, 2, 2).resize(3, 3).cameras is None
    with pytest.raises(ValueError, match="no cameras"):
        views.original_cameras()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cameras", random_cameras(0, 3)),
        ("masks", torch.ones(1, 1, 24, 32)),
        ("depths", torch.ones(3, 1, 24, 32)),
        ("names", ("a",)),
    ],
)
def test_one_of_each_field_per_image(field, value):
    with unchecked_shapes(), pytest.raises(ValueError, match=f"2 images but {len(value)} {field}; give one per image"):
        Views(torch.zeros(2, 3, 24, 32), **{field: value})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.nan, r"^b\.png: the image holds NaN"),
        (255.0, r"^b\.png: image values span \[0, 255\]; .*divide 8-bit values by 255"),
        (-0.5, r"^b\.png: image values span \[-0.5, 0\]"),
    ],
)
def test_validate_names_the_broken_image(value, message):
    images = torch.zeros(3, 3, 4, 4)
    images[1, 2, 0, 3] = value
    views = Views(images, names=("a.png", "b.png", "c.png"))
    with pytest.raises(ValueError, match=message):
        views.validate()
    assert len(views[[0, 2]].validate()) == 2


def test_validate_names_the_broken_camera_by_its_photo():
    views = random_views(7, 3)
    pose = views.cameras.camera_to_world.clone()
    pose[2, :3, 0] *= -1
    with pytest.raises(ValueError, match=r"^7_2\.png: .*mirror"):
        replace(views, cameras=replace(views.cameras, camera_to_world=pose)).validate()


def test_validate_refuses_no_images_and_cameras_of_other_sizes():
    with pytest.raises(ValueError, match="no images"):
        Views(torch.zeros(0, 3, 4, 4)).validate()
    views = random_views(0, 2)
    with pytest.raises(ValueError, match="cameras are for 12x16 pixels but the images have 24x32"):
        replace(views, cameras=views.cameras.resize(12, 16)).validate()


@pytest.mark.parametrize("window", [(-1, 0, 4, 4), (0, -1, 4, 4), (21, 0, 4, 4), (0, 29, 4, 4), (0, 0, 0, 4)])
def test_crops_stay_inside(window):
    with pytest.raises(ValueError, match="leaves the 24x32 images"):
        random_views(0, 1).crop(*window)


@property_settings
@given(seeds)
def test_mirrored_views_see_the_mirrored_world(seed):
    views = random_views(seed, 2, height=6, width=9)
    mirrored = views.mirror()
    for field in FIELDS:
        assert torch.equal(getattr(mirrored, field), getattr(views, field).flip(-1))
    cloud = Scene(views.cameras, images=views.images, depths=views.depths).point_cloud()
    other = Scene(mirrored.cameras, images=mirrored.images, depths=mirrored.depths).point_cloud()
    reflected = cloud.positions * torch.tensor([-1.0, 1, 1])
    nearest = torch.cdist(reflected, other.positions).argmin(1)
    assert_close(other.positions[nearest], reflected)
    assert torch.equal(other.colors[nearest], cloud.colors)
    assert_close(mirrored.mirror().cameras.intrinsics, views.cameras.intrinsics)


def test_mirror_comes_before_crops():
    with pytest.raises(ValueError, match="mirror the original photos, before crop"):
        random_views(0, 1).fit(12, 12).mirror()


@property_settings
@given(seeds, sizes, sizes)
def test_resized_values_stay_in_range(seed, height, width):
    views = random_views(seed, 2).resize(height, width)
    assert views.validate() is views
    assert views.masks.min() >= -1e-6
    assert views.masks.max() <= 1 + 1e-6


def test_resizing_is_the_library_s_antialiased_bilinear():
    views = random_views(0, 2)
    expected = F.interpolate(views.images, (10, 12), mode="bilinear", antialias=True)
    assert torch.equal(views.resize(10, 12).images, expected)


def test_surface_maps_follow_crop_resize_mirror_and_selection():
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(2, 3, 8, 12, generator=generator), dim=1)
    views = Views(torch.rand(2, 3, 8, 12), normals=normals, roughness=torch.rand(2, 1, 8, 12))
    assert torch.equal(views.crop(2, 3, 4, 5).normals, normals[..., 2:6, 3:8])
    assert torch.allclose(views.resize(4, 6).normals.norm(dim=1), torch.ones(2, 4, 6), atol=1e-5)
    mirrored = views.mirror().normals
    assert torch.equal(mirrored[:, 0], -normals[:, 0].flip(-1))
    assert torch.equal(mirrored[:, 1:], normals[:, 1:].flip(-1))
    assert torch.equal(views[[1, 1, 0]].roughness, views.roughness[[1, 1, 0]])
    assert Views.cat([views, views[:1]]).normals.shape == (3, 3, 8, 12)
