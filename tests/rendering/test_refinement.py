"""Refinement on Gaussians whose true cameras are known, rendered at 32x32."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from rendering.gaussians.gaussian_scenes import DISTANCE, orbit_cameras, random_gaussians
from strategies import random_similarity

from anyviews.cameras import Cameras, rigid
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.geometry.similarity import align_cameras
from anyviews.rendering import refinement
from anyviews.rendering.gaussians import render_gaussians
from anyviews.rendering.refinement import (
    RefinementSettings,
    align_refined,
    camera_changes,
    refine_scene,
    scene_extent,
)
from anyviews.rendering.scene_parameters import cross_matrix
from anyviews.scene import PointCloud, Scene
from anyviews.views import Views


BACKEND = "cpu"
VIEWS, SIZE = 8, 32


@pytest.fixture(scope="module")
def truth() -> Scene:
    """Gaussians all around the origin, so that photos show parallax, and the photos of them."""
    gaussians = random_gaussians(0, 100, scale=0.1)
    gaussians = replace(gaussians, means=2 * gaussians.means)
    cameras = orbit_cameras(VIEWS, SIZE, SIZE)
    images = render_gaussians(gaussians, cameras, backend=BACKEND).images.clamp(0, 1)
    return Scene(cameras, images, gaussians=gaussians, scale="aligned")


def perturbed(cameras: Cameras, degrees: float = 2.0, fraction: float = 0.02) -> Cameras:
    """Every camera turned, and moved by a fraction of its distance to the scene, in a direction of its own."""
    generator = torch.Generator().manual_seed(1)
    turns, shifts = F.normalize(torch.randn(2, len(cameras), 3, generator=generator), dim=-1).unbind()
    rotation = cameras.rotation @ torch.matrix_exp(cross_matrix(turns * torch.deg2rad(torch.tensor(degrees))))
    return replace(cameras, camera_to_world=rigid(rotation, cameras.centers + fraction * DISTANCE * shifts))


def pose_errors(found: Cameras, true: Cameras) -> tuple[float, float]:
    """Mean error in degrees and in world units, the frame and the scale left aside."""
    turns, shifts = camera_changes(align_cameras(found, true).apply_cameras(found), true)
    return turns.mean().item(), shifts.mean().item()


def refine(scene: Scene, views: Views | None = None, steps: int = 12, **options):
    settings = RefinementSettings(backend=BACKEND, **{"coarse_levels": 0, **options.pop("settings", {})})
    return refine_scene(scene, views, steps=steps, settings=settings, **options)


def same(a: Gaussians, b: Gaussians) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


def test_poses_that_are_off_are_found_again(truth):
    given = perturbed(truth.cameras)
    before = pose_errors(given, truth.cameras)
    # poses this far off are better not trusted
    result = refine(replace(truth, cameras=given), steps=300, settings={"camera_prior": 0.0, "views_per_step": 2})
    after = pose_errors(result.scene.cameras, truth.cameras)
    assert before[0] > 1.5 and before[1] > 0.03
    assert after[0] < before[0] / 5 and after[1] < before[1] / 5
    assert (result.psnr_after > result.psnr_before + 8).all()
    assert result.losses[-20:].mean() < 0.2 * result.losses[:20].mean()
    # the world is still that of the given cameras
    drift = align_refined(result.scene.cameras, given, DISTANCE)
    torch.testing.assert_close(drift.scale, torch.tensor(1.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(drift.rotation, torch.eye(3), atol=3e-3, rtol=0)
    torch.testing.assert_close(drift.translation, torch.zeros(3), atol=5e-3, rtol=0)
    assert result.scene.scale == "aligned"
    assert (result.turns > 0.1).all() and (result.shifts > 0.005).all()
    # and what was reported is what the result renders
    render = render_gaussians(result.scene.gaussians, result.scene.cameras, backend=BACKEND).images
    error = (render - truth.images).square().flatten(1).mean(1)
    torch.testing.assert_close(-10 * error.log10(), result.psnr_after, atol=1e-3, rtol=0)


def test_alignment_undoes_a_drift_and_is_not_turned_by_noise_of_the_centres(truth):
    world = replace(random_similarity(4, dtype=torch.float32), scale=torch.tensor(1.0))
    back = align_refined(world.apply_cameras(truth.cameras), truth.cameras, DISTANCE)
    torch.testing.assert_close(back.rotation, world.inverse().rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.translation, world.inverse().translation, atol=1e-4, rtol=0)
    larger = truth.cameras.scaled(1.1)
    torch.testing.assert_close(
        align_refined(larger, truth.cameras, DISTANCE).scale * 1.1, torch.tensor(1.0), atol=0.002, rtol=0
    )
    # photos from nearly one place, whose centres are all that is off
    close = truth.cameras.scaled(1e-3)
    moved = replace(close, camera_to_world=rigid(close.rotation, close.centers + 0.01 * torch.randn(VIEWS, 3)))
    found = align_refined(moved, close, DISTANCE)
    assert torch.linalg.matrix_norm(found.rotation - torch.eye(3)) < 1e-3 and abs(found.scale - 1) < 0.01
    centres_alone = align_cameras(moved, close)
    assert torch.linalg.matrix_norm(centres_alone.rotation - torch.eye(3)) > 0.3 and centres_alone.scale < 0.5


def test_fixed_cameras_stay_as_they_are(truth):
    start = replace(truth, gaussians=replace(truth.gaussians, means=truth.gaussians.means + 0.03))
    result = refine(start, optimize_cameras=False, steps=40)
    for name in ("intrinsics", "camera_to_world", "image_sizes"):
        assert torch.equal(getattr(result.scene.cameras, name), getattr(truth.cameras, name))
    assert result.turns.tolist() == [0] * VIEWS and result.focal_factor == 1
    assert result.psnr_after.mean() > result.psnr_before.mean() + 2
    assert not torch.equal(result.scene.gaussians.means, start.gaussians.means)


def test_a_wrong_focal_length_is_found(truth):
    wrong = truth.cameras.intrinsics.clone()
    wrong[:, 0, 0] *= 1.05
    wrong[:, 1, 1] *= 1.05
    start = replace(truth, cameras=replace(truth.cameras, intrinsics=wrong))
    result = refine(start, optimize_cameras=False, optimize_intrinsics=True, steps=120)
    # the rest went into the Gaussians
    assert abs(result.focal_factor * 1.05 - 1) < 0.025
    assert torch.equal(result.scene.cameras.intrinsics[..., 2], truth.cameras.intrinsics[..., 2])


def test_a_seed_decides_everything(truth):
    start = replace(truth, cameras=perturbed(truth.cameras))
    first, second, other = (refine(start, settings={"seed": seed, "views_per_step": 3}) for seed in (5, 5, 6))
    assert same(first.scene.gaussians, second.scene.gaussians)
    assert torch.equal(first.scene.cameras.camera_to_world, second.scene.cameras.camera_to_world)
    assert torch.equal(first.losses, second.losses)
    assert not same(first.scene.gaussians, other.scene.gaussians)


@pytest.mark.parametrize("background", [None, torch.tensor([1.0, 0.5, 0.0])])
def test_pixels_outside_masks_do_not_matter(truth, background):
    masks = torch.zeros(VIEWS, 1, SIZE, SIZE)
    masks[..., 6:26, 8:28] = 1
    views = Views(truth.images, perturbed(truth.cameras), masks=masks)
    corrupted = replace(views, images=torch.where(masks > 0, views.images, torch.rand_like(views.images)))
    first, second = (refine(truth, v, background=background) for v in (views, corrupted))
    assert same(first.scene.gaussians, second.scene.gaussians)
    assert torch.equal(first.psnr_after, second.psnr_after)
    unmasked = refine(truth, replace(views, masks=None), background=background)
    assert not same(first.scene.gaussians, unmasked.scene.gaussians)


def test_a_background_is_kept_free_of_gaussians(truth):
    """On masked photos alone nothing says that the rest is empty; with a background it is made so."""
    masks = (render_gaussians(truth.gaussians, truth.cameras, backend=BACKEND).alphas > 0.5).float()
    views = Views(truth.images, truth.cameras, masks=masks)
    stray = Gaussians.cat([truth.gaussians, random_gaussians(9, 30)])
    start = replace(truth, gaussians=stray)
    outside = []
    for background in (None, torch.ones(3)):
        found = refine(start, views, background=background, optimize_cameras=False, steps=60).scene
        alphas = render_gaussians(found.gaussians, truth.cameras, backend=BACKEND).alphas
        outside.append(alphas[masks == 0].mean())
    assert outside[1] < 0.7 * outside[0]


@pytest.mark.parametrize("scale", [1e-3, 0.5, 1e3])
def test_the_world_may_have_any_unit_and_origin(truth, scale):
    """Not any axes: Adam steps along them. In the smallest unit all is nearer than the renderer's usual near plane."""
    world = random_similarity(3, dtype=torch.float32)
    world = replace(world, rotation=torch.eye(3), scale=torch.tensor(scale), translation=scale * world.translation)
    start = replace(truth, cameras=perturbed(truth.cameras))
    moved = replace(start, cameras=world.apply_cameras(start.cameras), gaussians=start.gaussians.transform(world))
    first, second = refine(start), refine(moved)
    torch.testing.assert_close(second.turns, first.turns, atol=0.02, rtol=0)
    torch.testing.assert_close(second.shifts / world.scale, first.shifts, atol=1e-3, rtol=0)
    torch.testing.assert_close(second.psnr_after, first.psnr_after, atol=0.2, rtol=0)


def test_nothing_given_is_changed_and_each_step_is_told(truth):
    gaussians = {name: getattr(truth.gaussians, name).clone() for name in FIELDS}
    pose, told = truth.cameras.camera_to_world.clone(), []
    result = refine(truth, steps=3, degree=2, on_step=lambda step, loss: told.append((step, loss)))
    assert [step for step, _ in told] == [1, 2, 3]
    assert torch.tensor([loss for _, loss in told]).equal(result.losses)
    assert all(torch.equal(value, getattr(truth.gaussians, name)) for name, value in gaussians.items())
    assert torch.equal(pose, truth.cameras.camera_to_world)
    assert result.scene.gaussians.degree == 2 and result.scene.gaussians.spherical_harmonics[:, 1:].any()
    assert not result.scene.gaussians.means.requires_grad and not result.scene.cameras.camera_to_world.requires_grad


def test_starts_from_points_at_coarse_photos(truth):
    points = PointCloud(truth.gaussians.means, truth.gaussians.colors)
    scene = Scene(truth.cameras, truth.images, points=points)
    result = refine(scene, steps=60, settings={"coarse_levels": 2})
    assert len(result.scene.gaussians) == 100 and result.scene.points is None
    assert result.psnr_after.mean() > result.psnr_before.mean() + 2


def test_photos_without_cameras_take_those_of_the_scene(truth):
    views = Views(F.interpolate(truth.images, (16, 16)))
    assert refine(truth, views, steps=1).scene.cameras.height == 16
    with pytest.raises(ValueError, match="another aspect ratio"):
        refine(truth, Views(torch.rand(VIEWS, 3, 16, 24)))
    with pytest.raises(ValueError, match="2 photos without cameras and 8 cameras"):
        refine(truth, views[:2])


def test_unusable_inputs_are_named(truth):
    masks = torch.ones(VIEWS, 1, SIZE, SIZE)
    masks[3] = 0
    away = replace(truth.cameras, camera_to_world=truth.cameras.camera_to_world * torch.tensor([1.0, -1, -1, 1]))
    for scene, options, message in (
        (truth, {"steps": 0}, "steps is 0"),
        (replace(truth, images=None), {}, "give views"),
        (replace(truth, gaussians=None), {}, "no points"),
        (replace(truth, cameras=away), {}, "none of 100 Gaussians lies in any of the 8 photos"),
        (truth, {"views": Views(truth.images, truth.cameras, masks=masks)}, "masks of 1 photos .* view 3"),
        (replace(truth, images=truth.images + 2), {}, "accepted is sRGB"),
    ):
        with pytest.raises(ValueError, match=message):
            refine(scene, **options)
    with pytest.raises(ValueError, match="views_per_step 0"):
        RefinementSettings(views_per_step=0)


def test_a_loss_that_is_not_finite_stops_the_run(truth, monkeypatch):
    def broken(*arguments, **options):
        render = render_gaussians(*arguments, **options)
        return replace(render, images=render.images * torch.nan)

    monkeypatch.setattr(refinement, "render_gaussians", broken)
    with pytest.raises(ValueError, match=r"the loss, the slope of means.* at step 1; the scene is unchanged"):
        refine(truth)


def test_extent_is_the_depth_that_photos_show(truth):
    assert 0.8 * DISTANCE < scene_extent(truth.gaussians, truth.cameras) < 1.2 * DISTANCE
