"""Real captures go through every dataset format unchanged."""

import pytest
import torch
from format_views import assert_same_views

from anyviews.formats import load_views, save_views


SCENES = (
    "apartment_rendered",
    "banana",
    "buddha_head",
    "dining_room_rgbd",
    "driving_a",
    "drone_park",
    "icl_livingroom",
    "lund_street",
    "maryrose_tankard",
)


@pytest.mark.parametrize("name", SCENES)
def test_scene_survives_conversion(shared_data, tmp_path, name):
    views = load_views(shared_data / "posed" / name, select=[0, 3])
    assert len(views) == 2 and views.cameras.image_sizes.unique(dim=0).shape[0] == 1
    reach = 1 + views.cameras.centers.abs().max().item()  # poses far from the origin round accordingly
    for format in ("colmap", "transforms", "cameras-json"):
        save_views(views, tmp_path / format, format)
        back = load_views(tmp_path / format)
        assert_same_views(back, views, pose_tolerance=2e-6 * reach)
        if views.masks is not None:
            torch.testing.assert_close(back.masks, views.masks)
        if views.depths is not None and format != "colmap":
            step = max(views.depths.max().item() / 65535, 1e-3)
            torch.testing.assert_close(back.depths, views.depths, atol=0.51 * step, rtol=0)
            assert torch.equal(back.depths > 0, views.depths > 0)


def test_rendered_objects_with_transparency(shared_data):
    views = load_views(shared_data / "pbr_objects" / "shoe", size=(64, 64), select=range(0, 24, 8))
    assert 0.05 < views.masks.mean() < 0.95
    outside = (views.masks == 0).expand_as(views.images)
    assert views.images[outside].min() > 1 - 1e-5
    assert (views.depths[views.masks == 0] == 0).float().mean() > 0.99


@pytest.mark.parametrize("name", ["villa", "berlin_cathedral", "opera_house"])
def test_unposed_photos(shared_data, name):
    views = load_views(shared_data / "unposed" / name, size=(96, 128))
    assert len(views) >= 2 and views.cameras is None


def test_unrelated_photos_of_different_sizes(shared_data):
    with pytest.raises(ValueError, match=r"different sizes: .* pass size="):
        load_views(shared_data / "unposed" / "single_photos")
    assert load_views(shared_data / "unposed" / "single_photos", size=(64, 64)).images.shape == (7, 3, 64, 64)
