"""Invariants of cameras."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from strategies import (
    assert_close,
    batch_shapes,
    dtypes,
    property_settings,
    random_cameras,
    random_pixels,
    random_rotation,
    random_similarity,
    seeds,
    sizes,
    unchecked_shapes,
)

from anyviews.cameras import Cameras, invert_rigid, rigid


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_projecting_undoes_unprojecting(seed, batch, dtype):
    cameras = random_cameras(seed, *batch, dtype=dtype)
    pixels, depth = random_pixels(seed, cameras)
    projected, projected_depth = cameras.project(cameras.unproject(pixels, depth))
    assert_close(projected, pixels, scale=32)
    assert_close(projected_depth, depth)


@property_settings
@given(seeds, dtypes)
def test_unprojecting_undoes_projecting(seed, dtype):
    cameras = random_cameras(seed, 3, dtype=dtype)
    points = cameras.unproject(*random_pixels(seed, cameras))
    assert_close(cameras.unproject(*cameras.project(points)), points)


def test_projection_by_hand():
    """A camera at the origin that looks down +z: x is right, y is down, the centre of the first pixel is at .5."""
    intrinsics = torch.tensor([[10.0, 0, 16], [0, 20, 12], [0, 0, 1]])
    camera = Cameras.create(intrinsics, torch.eye(4), 24, 32)
    pixels, depth = camera.project(torch.tensor([[0.0, 0, 2], [1, 0, 2], [0, 1, 2], [0, 0, -3]]))
    assert pixels[:3].tolist() == [[16, 12], [21, 12], [16, 22]]
    assert depth.tolist() == [2, 2, 2, -3]


@property_settings
@given(seeds, dtypes)
def test_leading_batch_dimensions_equal_loops(seed, dtype):
    cameras = random_cameras(seed, 2, 3, dtype=dtype)
    pixels, depth = random_pixels(seed, cameras)
    points = cameras.unproject(pixels, depth)
    projected, projected_depth = cameras.project(points)
    for i in range(2):
        for j in range(3):
            assert_close(points[i, j], cameras[i, j].unproject(pixels[i, j], depth[i, j]))
            one_pixels, one_depth = cameras[i, j].project(points[i, j])
            assert_close(projected[i, j], one_pixels, scale=32)
            assert_close(projected_depth[i, j], one_depth)
            assert_close(cameras.world_to_camera[i, j], cameras[i, j].world_to_camera)
            assert_close(cameras.resize(10, 17).intrinsics[i, j], cameras[i, j].resize(10, 17).intrinsics)
            assert_close(cameras.crop(2, 3, 9, 8).intrinsics[i, j], cameras[i, j].crop(2, 3, 9, 8).intrinsics)
    flat = cameras.reshape(6)
    assert_close(flat.project(points.flatten(0, 1))[0], projected.flatten(0, 1), scale=32)
    assert torch.equal(flat.reshape(2, 3).camera_to_world, cameras.camera_to_world)


@property_settings
@given(seeds, batch_shapes, sizes, sizes)
def test_resized_cameras_see_a_point_at_the_same_place_of_the_photo(seed, batch, height, width):
    cameras = random_cameras(seed, *batch)
    pixels, depth = random_pixels(seed, cameras)
    points = cameras.unproject(pixels, depth)
    resized = cameras.resize(height, width)
    resized_pixels, resized_depth = resized.project(points)
    assert_close(resized_pixels, pixels * pixels.new_tensor([width / 32, height / 24]), scale=32)
    assert_close(resized_depth, depth)
    assert (resized.height, resized.width) == (height, width)
    assert_close(resized.resize(24, 32).intrinsics, cameras.intrinsics, scale=32)


@property_settings
@given(seeds, batch_shapes, sizes, sizes)
def test_cropped_cameras_see_a_point_shifted(seed, batch, top, left):
    cameras = random_cameras(seed, *batch)
    pixels, depth = random_pixels(seed, cameras)
    cropped = cameras.crop(top, left, 5, 6)
    assert_close(cropped.project(cameras.unproject(pixels, depth))[0], pixels - torch.tensor([left, top]), scale=32)
    assert (cropped.height, cropped.width) == (5, 6)
    assert_close(cropped.crop(-top, -left, 24, 32).intrinsics, cameras.intrinsics, scale=32)


@property_settings
@given(seeds, dtypes)
def test_a_similarity_of_the_world_keeps_pixels_and_scales_depth(seed, dtype):
    cameras, similarity = random_cameras(seed, 3, dtype=dtype), random_similarity(seed, dtype=dtype)
    pixels, depth = random_pixels(seed, cameras)
    points = cameras.unproject(pixels, depth).flatten(0, 1)
    moved = similarity.apply(points).unflatten(0, (3, -1))
    moved_pixels, moved_depth = similarity.apply_cameras(cameras).project(moved)
    assert_close(moved_pixels, pixels, scale=100)
    assert_close(moved_depth, depth * similarity.scale, scale=10)


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_world_to_camera_is_the_inverse(seed, batch, dtype):
    cameras = random_cameras(seed, *batch, dtype=dtype)
    identity = torch.eye(4, dtype=dtype).expand(*batch, 4, 4)
    assert_close(cameras.world_to_camera @ cameras.camera_to_world, identity)
    assert_close(cameras.world_to_camera, torch.linalg.inv(cameras.camera_to_world))
    back = Cameras.from_world_to_camera(cameras.intrinsics, cameras.world_to_camera, cameras.image_sizes)
    assert_close(back.camera_to_world, cameras.camera_to_world)
    assert_close(invert_rigid(invert_rigid(cameras.camera_to_world)), cameras.camera_to_world)


@property_settings
@given(seeds, batch_shapes)
def test_opengl_round_trip(seed, batch):
    cameras = random_cameras(seed, *batch)
    back = Cameras.from_opengl(cameras.intrinsics, cameras.to_opengl(), cameras.image_sizes)
    assert torch.equal(back.camera_to_world, cameras.camera_to_world)
    # x stays; up is -y and backward is -z of the OpenCV camera; the centre stays
    assert torch.equal(cameras.to_opengl()[..., :3, 1], -cameras.rotation[..., 1])
    assert torch.equal(cameras.to_opengl()[..., :3, 2], -cameras.rotation[..., 2])
    assert torch.equal(cameras.to_opengl()[..., [0, 3]], cameras.camera_to_world[..., [0, 3]])


@property_settings
@given(seeds)
def test_relative_frames_compose(seed):
    cameras = random_cameras(seed, 4)
    first, second = cameras[0], cameras[1]
    assert_close(first.relative_to(first).camera_to_world, torch.eye(4, dtype=torch.float64))
    in_first = cameras.relative_to(first)
    assert_close(
        in_first.relative_to(second.relative_to(first)).camera_to_world, cameras.relative_to(second).camera_to_world
    )
    # a point given in the first camera's frame is seen at the same pixels
    points = cameras.unproject(*random_pixels(seed, cameras))
    in_frame = (points - first.centers) @ first.rotation
    assert_close(in_first.project(in_frame)[0], cameras.project(points)[0], scale=32)


@property_settings
@given(seeds)
def test_changing_the_world_unit_scales_points_and_depth(seed):
    cameras = random_cameras(seed, 3)
    pixels, depth = random_pixels(seed, cameras)
    points = cameras.unproject(pixels, depth)
    seen, seen_depth = cameras.scaled(2.5).project(points * 2.5)
    assert_close(seen, pixels, scale=32)
    assert_close(seen_depth, depth * 2.5)
    each = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert_close(cameras.scaled(each).centers, cameras.centers * each[:, None])
    assert torch.equal(cameras.scaled(each).rotation, cameras.rotation)


@property_settings
@given(seeds, batch_shapes)
def test_a_mirrored_camera_sees_the_mirrored_world_flipped(seed, batch):
    cameras = random_cameras(seed, *batch)
    pixels, depth = random_pixels(seed, cameras)
    reflected = cameras.unproject(pixels, depth) * pixels.new_tensor([-1, 1, 1])
    seen, seen_depth = cameras.mirror().validate().project(reflected)
    assert_close(seen, torch.stack([32 - pixels[..., 0], pixels[..., 1]], dim=-1), scale=32)
    assert_close(seen_depth, depth)


@property_settings
@given(seeds)
def test_permuting_cameras_commutes_with_their_functions(seed):
    cameras = random_cameras(seed, 5)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    pixels, depth = random_pixels(seed, cameras)
    assert_close(cameras[order].unproject(pixels[order], depth[order]), cameras.unproject(pixels, depth)[order])
    assert torch.equal(cameras[order].resize(7, 9).intrinsics, cameras.resize(7, 9).intrinsics[order])
    assert torch.equal(cameras[order].to_opengl(), cameras.to_opengl()[order])


def test_stack_cat_and_iteration():
    cameras = random_cameras(0, 3)
    stacked = Cameras.stack([cameras, cameras.scaled(2.0)])
    assert stacked.batch_shape == (2, 3)
    assert torch.equal(stacked[1].centers, cameras.centers * 2)
    joined = Cameras.cat([cameras[:1], cameras[1:]])
    assert torch.equal(joined.camera_to_world, cameras.camera_to_world)
    assert [c.batch_shape for c in cameras] == [(), (), ()]
    assert torch.equal(Cameras.stack(list(cameras)).intrinsics, cameras.intrinsics)


def test_casting_leaves_image_sizes_whole():
    cameras = random_cameras(0, 2, dtype=torch.float64).to(dtype=torch.float32)
    assert cameras.dtype == torch.float32
    assert not cameras.image_sizes.is_floating_point()


def test_a_single_camera_has_neither_length_nor_index():
    camera = random_cameras(0)
    with pytest.raises(TypeError, match="single camera"):
        len(camera)
    with pytest.raises(IndexError, match="single camera"):
        camera[0]


def test_different_image_sizes_have_no_shared_height():
    cameras = Cameras.cat([random_cameras(0, 1), random_cameras(0, 1, height=30)])
    assert cameras.width == 32
    with pytest.raises(ValueError, match=r"2 different image heights: \[24, 30\]"):
        _ = cameras.height


def test_different_leading_dimensions_are_refused():
    cameras = random_cameras(0, 3)
    with unchecked_shapes(), pytest.raises(ValueError, match="leading dimensions differ"):
        Cameras(cameras.intrinsics[:2], cameras.camera_to_world, cameras.image_sizes)


def broken(field: str, change) -> Cameras:
    """Three cameras, the second of which is changed in one field."""
    cameras = random_cameras(1, 3)
    values = getattr(cameras, field).clone()
    change(values[1])
    return replace(cameras, **{field: values})


BROKEN = {
    "intrinsics hold NaN": ("intrinsics", lambda k: k[0, 2].fill_(torch.nan)),
    "focal lengths must be positive": ("intrinsics", lambda k: k[1, 1].neg_()),
    "last row of intrinsics must be 0 0 1": ("intrinsics", lambda k: k[2, 2].fill_(2)),
    "camera_to_world holds NaN or infinity": ("camera_to_world", lambda p: p[0, 3].fill_(torch.inf)),
    "last row of camera_to_world must be 0 0 0 1": ("camera_to_world", lambda p: p[3, 0].fill_(0.5)),
    "not orthonormal": ("camera_to_world", lambda p: p[:3, :3].mul_(1.01)),
    "is a mirror": ("camera_to_world", lambda p: p[:3, 0].neg_()),
    "image sizes must be positive": ("image_sizes", lambda s: s[0].fill_(0)),
}


@pytest.mark.parametrize("message", BROKEN)
def test_validate_names_the_broken_camera(message):
    cameras = broken(*BROKEN[message])
    with pytest.raises(ValueError, match=rf"^inputs\[1\]: .*{message}.*found"):
        cameras.validate("inputs")
    with pytest.raises(ValueError, match=f"^b.png: .*{message}"):
        cameras.validate(names=("a.png", "b.png", "c.png"))
    with pytest.raises(ValueError, match=rf"^cameras\[0, 1\]: .*{message}"):
        cameras.reshape(1, 3).validate()
    cameras[[0, 2]].validate()


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_validate_returns_good_cameras(seed, batch, dtype):
    cameras = random_cameras(seed, *batch, dtype=dtype)
    assert cameras.validate() is cameras


@property_settings
@given(seeds, batch_shapes)
def test_rigid_matrices_invert(seed, batch):
    generator = torch.Generator().manual_seed(seed)
    rotation = random_rotation(generator, *batch)
    translation = torch.randn(*batch, 3, generator=generator, dtype=torch.float64)
    matrix = rigid(rotation, translation)
    assert_close(matrix @ invert_rigid(matrix), torch.eye(4, dtype=torch.float64).expand_as(matrix))
