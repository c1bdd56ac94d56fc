"""The sphere around an object from masks and cameras, against the surface that the world knows."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from anyviews.cameras import Cameras, rigid
from anyviews.data.world import render_world
from anyviews.geometry.paths import look_at
from anyviews.models.lirm.framing_lirm import find_object, in_all_masks, nearest_to_rays
from anyviews.models.lirm.processing_lirm import visible_bounds


@cache
def world():
    return render_world(torch.arange(6) + 40, 12, 48, 48, kind="object", samples=1)


@pytest.mark.parametrize("index", range(6))
def test_the_sphere_holds_the_object_and_little_more(index):
    views = world().scene(index)
    center, radius = visible_bounds(views.depths, views.masks, views.cameras)
    found = find_object(views.masks, views.cameras)
    assert (found.center - center).norm() + radius <= found.radius * 1.15
    assert found.radius <= radius * 1.5


def ball(cameras: Cameras, center: torch.Tensor, radius: float) -> torch.Tensor:
    """Masks of a ball."""
    from anyviews.geometry.rays import camera_rays, pixel_centers

    pixels = pixel_centers(cameras.height, cameras.width).flatten(0, 1).expand(len(cameras), -1, 2)
    origins, directions = camera_rays(cameras, pixels)
    away = torch.linalg.cross(center - origins, directions, dim=-1).norm(dim=-1)
    return (away < radius).float().unflatten(-1, (cameras.height, cameras.width))[:, None]


def around(count: int, spread: float = 2 * torch.pi) -> Cameras:
    angle = torch.arange(count) / count * spread
    eyes = torch.stack([3 * angle.sin(), 0.8 * (2 * angle).cos(), 3 * angle.cos()], dim=-1) + 5
    intrinsics = torch.tensor([[60.0, 0, 32], [0, 60.0, 32], [0, 0, 1]])
    return look_at(eyes, torch.full((3,), 5.1), torch.tensor([0.0, 1, 0]), intrinsics, 64, 64)


@pytest.mark.parametrize("count", [4, 9])
def test_a_ball_is_found_to_a_pixel(count):
    cameras, center = around(count), torch.tensor([5.0, 5.1, 4.9])
    found = find_object(ball(cameras, center, 0.7), cameras)
    assert (found.center - center).norm() < 0.1 and 0.7 < found.radius < 1.0 and not found.one_sided


def test_photos_from_one_side_are_told():
    cameras = around(4, spread=0.3)
    assert find_object(ball(cameras, torch.full((3,), 5.0), 0.5), cameras).one_sided


def test_one_photo_is_not_enough():
    cameras = around(4)[:1]
    with pytest.raises(ValueError, match="one photo"):
        find_object(ball(cameras, torch.full((3,), 5.0), 0.5), cameras)


def test_masks_of_another_scene_are_found_out():
    cameras = around(6)
    masks = ball(cameras, torch.full((3,), 5.0), 0.1)
    masks[3] = masks[3].roll((20, 22), (-2, -1))
    with pytest.raises(ValueError, match="no point lies in all masks"):
        find_object(masks, cameras)


def test_poses_of_another_convention_are_found_out():
    cameras = around(6)
    masks = ball(cameras, torch.full((3,), 5.0), 0.5)
    opengl = replace(cameras, camera_to_world=cameras.camera_to_world * torch.tensor([1.0, -1, -1, 1]))
    with pytest.raises(ValueError, match="convention"):
        find_object(masks, opengl)


def test_parallel_rays_meet_somewhere_near():
    origins = torch.tensor([[0.0, 0, 0], [2, 0, 0]])
    assert torch.allclose(nearest_to_rays(origins, torch.tensor([[0.0, 0, 1], [0, 0, 1]])), torch.tensor([1.0, 0, 0]))


def test_a_photo_that_does_not_see_a_point_does_not_rule_it_out():
    cameras = around(2)
    rotated = rigid(cameras.rotation[1] @ torch.diag(torch.tensor([-1.0, 1, -1])), cameras.centers[1])
    cameras = replace(cameras, camera_to_world=torch.stack([cameras.camera_to_world[0], rotated]))
    assert in_all_masks(torch.full((1, 3), 5.0), torch.ones(2, 1, 64, 64), cameras).all()
