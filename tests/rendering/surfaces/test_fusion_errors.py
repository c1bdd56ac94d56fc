"""What cannot be fused is refused with a message that says what to change."""

import pytest
import torch
from depth_shapes import cameras_on_sphere, sphere_depth
from strategies import unchecked_shapes

from anyviews.rendering.surfaces.fusion import fuse_depths


def given(**changes):
    cameras = cameras_on_sphere(4, 32)
    return {"images": None, "depths": sphere_depth(cameras), "cameras": cameras, "resolution": 16, **changes}


def test_what_is_given_can_be_fused():
    assert len(fuse_depths(**given())) > 100


def test_no_positive_depth():
    with pytest.raises(ValueError, match="nothing to fuse"):
        fuse_depths(**given(depths=torch.zeros(4, 1, 32, 32)))
    with pytest.raises(ValueError, match="nothing to fuse"):
        fuse_depths(**given(masks=torch.zeros(4, 1, 32, 32)))


@pytest.mark.parametrize("name", ["depths", "images", "masks", "weights"])
def test_values_that_are_not_finite_name_their_view(name):
    values = torch.ones(4, 3 if name == "images" else 1, 32, 32)
    values[2, 0, 5, 5] = float("nan")
    with pytest.raises(ValueError, match=f"{name} of view 2 hold NaN"):
        fuse_depths(**given(**{name: values}))


@pytest.mark.parametrize("name", ["depths", "weights"])
def test_negative_values(name):
    with pytest.raises(ValueError, match=f"{name} hold -1"):
        fuse_depths(**given(**{name: -torch.ones(4, 1, 32, 32)}))


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="give one camera for each"):
        fuse_depths(**given(cameras=cameras_on_sphere(3, 32)))
    with pytest.raises(ValueError, match="give one camera for each"):
        fuse_depths(**given(cameras=cameras_on_sphere(4, 64)))
    with unchecked_shapes(), pytest.raises(ValueError, match="weights have shape"):
        fuse_depths(**given(weights=torch.ones(4, 1, 16, 16)))


def test_bounds_without_depth_say_where_the_points_are():
    far = (torch.tensor([5.0, 5.0, 5.0]), torch.tensor([6.0, 6.0, 6.0]))
    with pytest.raises(ValueError, match=r"no depth lies in the bounds \[5.0, .* lie between \[-0.9"):
        fuse_depths(**given(bounds=far))


@pytest.mark.parametrize("corner", [0.0, float("nan"), float("inf")])
def test_bounds_that_are_no_box(corner):
    with pytest.raises(ValueError, match="a low corner and a high one"):
        fuse_depths(**given(bounds=(torch.ones(3), torch.tensor([2.0, 2.0, corner]))))


def test_grid_beyond_the_memory_says_how_much_and_what_fits():
    with pytest.raises(ValueError, match=r"needs 581 GB, more than max_gigabytes = 4; .*resolution=\d+ or less"):
        fuse_depths(**given(resolution=4600))
    with pytest.raises(ValueError, match="more than max_gigabytes = 0"):
        fuse_depths(**given(max_gigabytes=1e-4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 1}, "resolution is 1"),
        ({"voxel_size": 0.0}, "voxel_size is 0"),
        ({"voxel_size": -1.0}, "voxel_size is -1"),
        ({"voxel_size": float("nan")}, "voxel_size is nan"),
        ({"truncation": 0.01}, "accepted is a truncation of 4 voxels or more"),
        ({"min_part": 1.5}, "min_fraction is 1.5"),
    ],
)
def test_settings_outside_their_meaning(change, message):
    with pytest.raises(ValueError, match=message):
        fuse_depths(**given(**change))


def test_too_few_voxels_for_a_surface():
    with pytest.raises(ValueError, match=r"no surface in voxels of 1; give a higher resolution"):
        fuse_depths(**given(resolution=2))


def test_one_pixel_alone_has_no_size():
    depths = torch.zeros(4, 1, 32, 32)
    depths[0, 0, 16, 16] = 2
    with pytest.raises(ValueError, match="that of one point"):
        fuse_depths(**given(depths=depths))
