"""Input view optimisation: poses that are known, Gaussians that are coloured wrongly, photos that cannot be used."""

from dataclasses import replace

import pytest
import torch
from rendering.gaussians.gaussian_scenes import random_gaussians

from anyviews.cameras import Cameras
from anyviews.evaluation.angles import rotation_angles
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.models.lgm import INPUT_AZIMUTHS, lgm_cameras
from anyviews.rendering.input_pose import (
    InputPose,
    ObjectPhoto,
    PoseSearch,
    agreement,
    find_input_pose,
    moved_cameras,
    render_on_white,
    rotation_of,
)
from anyviews.rendering.input_view import InputViewFit, fit_input_view, nearest_view, optimize_input_view


SIZE = 32
# small enough for tests: a coarse grid around the front
SEARCH = PoseSearch(azimuths=(-20, 0, 20), elevations=(-20, 0, 20), rolls=(0,), grid_size=16, candidates=2, size=SIZE)
START = lgm_cameras([0.0], size=SIZE)[0]


@pytest.fixture(scope="module")
def gaussians() -> Gaussians:
    """A cloud of coloured blobs within the unit cube."""
    cloud = random_gaussians(3, 60, scale=0.05)
    return replace(cloud, means=0.4 * cloud.means / cloud.means.abs().max(), opacities=torch.full((60,), 0.95))


def photo_from(gaussians: Gaussians, turn=(0, 0, 0), shift=(0, 0), factor=1) -> tuple[ObjectPhoto, Cameras]:
    camera = moved_cameras(
        START,
        rotation_of(torch.deg2rad(torch.tensor([turn], dtype=torch.float32))),
        torch.tensor([shift], dtype=torch.float32),
        torch.tensor([float(factor)]).log(),
    )
    render = render_on_white(gaussians, camera)
    return ObjectPhoto(render.images[0].clamp(0, 1), render.alphas[0]), camera[0]


def find(gaussians: Gaussians, photo: ObjectPhoto, **options) -> InputPose:
    return find_input_pose(gaussians, photo.image, photo.mask, START, **{"search": SEARCH, **options})


def degrees(found: InputPose, true) -> float:
    return float(rotation_angles(found.camera.rotation, true.rotation))


@pytest.mark.parametrize(
    ("turn", "shift", "factor"),
    [
        ((8, -24, 0), (0, 0), 1),
        ((-20, 12, 9), (0.08, -0.06), 0.9),
        ((5, 20, -8), (0, 0.1), 1.2),
    ],
)
def test_a_pose_is_found_in_all_degrees_of_freedom(gaussians, turn, shift, factor):
    photo, true = photo_from(gaussians, turn, shift, factor)
    found = find(gaussians, photo)
    assert found.converged and found.overlap > 0.97 and found.error < 0.03
    assert degrees(found, true) < 1
    assert (found.camera.centers - true.centers).norm() < 0.02
    torch.testing.assert_close(
        found.turn, float(rotation_angles(START.rotation, found.camera.rotation)), atol=0.01, rtol=0
    )


def test_the_search_is_the_same_each_time_and_under_no_grad(gaussians):
    photo, _ = photo_from(gaussians, (6, 17, 0))
    first = find(gaussians, photo)
    with torch.no_grad():
        second = find(gaussians, photo)
    assert torch.equal(first.camera.camera_to_world, second.camera.camera_to_world) and first.error == second.error


def test_the_found_camera_has_the_pixels_of_the_photo(gaussians):
    photo, true = photo_from(gaussians, (0, 10, 0))
    large = photo.resized(48)
    found = find_input_pose(gaussians, large.image, large.mask, START.resize(48, 48), SEARCH)
    assert (found.camera.height, found.camera.width) == (48, 48)
    torch.testing.assert_close(found.camera.resize(SIZE, SIZE).intrinsics, true.intrinsics)
    assert degrees(found, true) < 1


def test_a_photo_of_something_else_gives_the_best_pose_and_says_so(gaussians):
    image, mask = torch.ones(3, SIZE, SIZE), torch.zeros(1, SIZE, SIZE)
    mask[:, 4:28, 14:18] = 1
    image[0, 4:28, 14:18] = image[1, 4:28, 14:18] = 0
    found = find(gaussians, ObjectPhoto(image, mask))
    assert not found.converged and (found.overlap < 0.8 or found.error > 0.2)
    with pytest.warns(UserWarning, match="is it a photo of this object"):
        result = optimize_input_view(gaussians, image, mask, lgm_cameras(size=SIZE), views_of(gaussians), SEARCH)
    assert result.gaussians is gaussians and result.error == result.error_before == found.error


def views_of(gaussians: Gaussians) -> torch.Tensor:
    """Every other Gaussian belongs to the front view, the others to the right one."""
    return torch.arange(len(gaussians)) % 2


def recolored(gaussians: Gaussians) -> Gaussians:
    """The same shape, less colourful."""
    return replace(gaussians, spherical_harmonics=0.4 * gaussians.spherical_harmonics)


@pytest.mark.parametrize("parts", [("colors",), ("colors", "opacities"), ("colors", "opacities", "scales", "means")])
def test_only_what_is_chosen_changes_and_the_photo_is_matched(gaussians, parts):
    photo, true = photo_from(gaussians, (0, 10, 0))
    wrong, chosen = recolored(gaussians), views_of(gaussians) == 0
    fit = InputViewFit(parts, steps=25)
    fitted = fit_input_view(wrong, photo.image, photo.mask, true, chosen, fit)
    before, after = (agreement(render_on_white(some, true.reshape(1)), photo)[0] for some in (wrong, fitted))
    assert after < 0.92 * before  # every other Gaussian stays wrong
    names = {"colors": "spherical_harmonics"}
    moving = {names.get(part, part) for part in parts}
    for name in FIELDS:
        old, new = getattr(wrong, name), getattr(fitted, name)
        assert torch.equal(old[~chosen], new[~chosen])
        assert torch.equal(old[chosen], new[chosen]) == (name not in moving)
    assert not fitted.means.requires_grad and fitted.validate() is fitted


def test_pose_and_gaussians_together_halve_the_error(gaussians):
    photo, true = photo_from(gaussians, (-5, 15, 0))
    wrong = recolored(gaussians)
    everything = torch.zeros(len(gaussians), dtype=torch.long)
    found = optimize_input_view(
        wrong, photo.image, photo.mask, lgm_cameras(size=SIZE), everything, SEARCH, InputViewFit(steps=40)
    )
    assert found.pose.converged and degrees(found.pose, true) < 2
    assert found.error < found.error_before / 2


def test_the_prior_holds_what_the_photo_does_not_show(gaussians):
    photo, true = photo_from(gaussians)
    behind = gaussians.means[:, 2] < -0.2
    wrong, everything = recolored(gaussians), torch.ones(len(gaussians), dtype=torch.bool)
    moved = {}
    for prior in (0.0, 1e-3):
        fit = InputViewFit(("colors",), steps=25, prior=prior)
        fitted = fit_input_view(wrong, photo.image, photo.mask, true, everything, fit)
        moved[prior] = (fitted.colors - wrong.colors)[behind].abs().mean()
    assert behind.sum() > 5 and moved[1e-3] < 0.5 * moved[0.0]


def test_the_nearest_view_is_by_direction():
    views = lgm_cameras(INPUT_AZIMUTHS)
    for azimuth, nearest in ((20, 0), (-40, 0), (60, 1), (170, 2), (-100, 3)):
        assert nearest_view(lgm_cameras([float(azimuth)], 30.0, radius=2.0)[0], views) == nearest


def test_a_moved_camera_turns_about_the_origin():
    cameras = lgm_cameras([0.0, 90.0], size=SIZE)
    moved = moved_cameras(
        cameras, rotation_of(torch.tensor([[0.0, -0.5, 0.0], [0.3, 0.0, 0.0]])), torch.zeros(2, 2), torch.zeros(2)
    )
    pixels, depth = moved[0].project(torch.zeros(1, 3))
    torch.testing.assert_close(pixels, torch.full((1, 2), SIZE / 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(moved.centers.norm(dim=-1), torch.full((2,), 1.5))
    # about its up axis to the viewer's right, as a larger azimuth is
    expected = lgm_cameras([float(torch.rad2deg(torch.tensor(0.5)))], size=SIZE)
    torch.testing.assert_close(moved[:1].camera_to_world, expected.camera_to_world, atol=1e-5, rtol=0)
    assert float(depth) == pytest.approx(1.5, abs=1e-4)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ((3, 32, 32), (1, 24, 24), "the photo is 32x32, its mask 24x24"),
        ((3, 32, 24), (1, 32, 24), "accepted are one square size"),
        ((3, 32, 32), "empty", "the mask covers 0.0%"),
        ((3, 32, 32), "full", "the mask covers 100.0%"),
    ],
)
def test_photos_that_cannot_be_used_are_refused(gaussians, image, mask, message):
    masks = {"empty": torch.zeros(1, 32, 32), "full": torch.ones(1, 32, 32)}
    mask = masks[mask] if isinstance(mask, str) else torch.ones(mask)
    with pytest.raises(ValueError, match=message):
        find_input_pose(gaussians, torch.rand(image), mask, START, SEARCH)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (PoseSearch, {"azimuths": ()}, "needs an azimuth"),
        (PoseSearch, {"candidates": 0}, "candidates=0"),
        (PoseSearch, {"size": 8}, "accepted are 16 pixels and more"),
        (InputViewFit, {"parts": ("colours",)}, "accepted are some of colors"),
        (InputViewFit, {"steps": 0}, "steps=0"),
        (InputViewFit, {"rate": 0.0}, "rates above 0"),
        (InputViewFit, {"prior": -1.0}, "prior=-1.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_no_chosen_gaussian_is_refused(gaussians):
    photo, true = photo_from(gaussians)
    with pytest.raises(ValueError, match="0 of 60 Gaussians are chosen"):
        fit_input_view(gaussians, photo.image, photo.mask, true, torch.zeros(60, dtype=torch.bool))
