"""Photos to LIRM's inputs: geometry that is exact, light that is brought to one level, and what is refused."""

import json
import warnings
from dataclasses import replace
from functools import cache

import pytest
import torch

from anyviews.color import linear_from_srgb, srgb_from_linear
from anyviews.data.world import render_world
from anyviews.formats import load_views
from anyviews.models.lirm.image_processing_lirm import LIRMImageProcessor, ObjectFrame
from anyviews.models.lirm.processing_lirm import mask_squares, visible_bounds
from anyviews.models.lirm.sweep_lirm import project_points
from anyviews.views import Views


@cache
def object_views() -> Views:
    return render_world(torch.tensor([41]), 8, 64, 64, kind="object", samples=1).scene(0)


def points_on(views: Views) -> torch.Tensor:
    """World points that the first photo shows."""
    y, x = ((views.depths[0, 0] > 0) & (views.masks[0, 0] > 0.5)).nonzero().unbind(-1)
    pixels = torch.stack([x, y], dim=-1) + 0.5
    return views.cameras[0].unproject(pixels, views.depths[0, 0, y, x])


def assert_rays_pass_through(views: Views, points: torch.Tensor, size: int) -> None:
    """Points project by the crops' rays alone to where the photos' cameras and the squares put them."""
    processor = LIRMImageProcessor(size)
    frame = processor.find_frame(views)
    inputs = processor.prepare(views, frame)
    assert inputs.images.shape == inputs.directions.shape == (len(views), 3, size, size)
    inside = frame.similarity.apply(points)
    assert inside.norm(dim=-1).max() <= 0.55
    found, _ = project_points(inside, inputs.origins[None], inputs.directions[None])
    squares = mask_squares(views.masks).round()
    expected = (views.cameras.project(points.expand(len(views), -1, 3))[0] - squares[:, None, :2]) / squares[
        :, None, 2:
    ]
    assert (found[0] - expected * size).abs().max() < 0.02 * size / 64


@pytest.mark.parametrize("size", [16, 64])
def test_known_points_lie_on_the_rays_of_their_pixels(size):
    views = object_views()
    assert_rays_pass_through(views, points_on(views), size)


def test_known_points_of_path_traced_objects_lie_on_the_rays_of_their_pixels(shared_data):
    views = load_views(shared_data / "pbr_objects" / "avocado", select=[0, 5, 11, 17])
    assert_rays_pass_through(views, points_on(views)[::7], 64)


def test_colors_stay_with_their_points():
    views = object_views()
    processor = LIRMImageProcessor(64, brightness_floor=0)
    points = points_on(views)
    # every photo shows the world's x in place of a colour
    low, high = points.amin(), points.amax()
    pixels = torch.stack(torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="xy"), -1)
    world = views.cameras.unproject(pixels.flatten(0, 1).expand(len(views), -1, 2), views.depths.flatten(1))
    values = ((world - low) / (high - low)).clamp(0, 1).mT.unflatten(-1, (64, 64))
    known = views.depths > 0
    painted = replace(views, images=torch.where(known, values, 0.5), masks=known.float())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = processor.find_frame(painted)
    inputs = processor.prepare(painted, frame)
    pixels, seen = project_points(
        frame.similarity.apply(points), inputs.origins[:1][None], inputs.directions[:1][None]
    )
    column, row = pixels[0, 0].long().clamp(0, 63).unbind(-1)
    shown = inputs.backgrounds[0, :, row, column].mT / 2 + 0.5
    wanted = ((points - low) / (high - low)).clamp(0, 1)
    # bilinear resizing of a 64-pixel photo: a pixel of depth at most, but for outlines
    assert seen[0, 0].float().mean() > 0.95
    assert (shown - wanted).abs().median() < 0.02


def test_the_frame_leads_back_and_survives_json():
    views = object_views()
    frame = LIRMImageProcessor(16).find_frame(views)
    again = ObjectFrame.from_dict(json.loads(json.dumps(frame.to_dict())))
    points = points_on(views)
    assert torch.equal(again.similarity.apply(points), frame.similarity.apply(points))
    torch.testing.assert_close(frame.similarity.inverse().apply(frame.similarity.apply(points)), points)
    assert torch.allclose(frame.similarity.apply(frame.center[None]), torch.zeros(1, 3), atol=1e-6)
    # the axes are the first camera's
    first = frame.similarity.apply_cameras(views.cameras)[0]
    assert torch.allclose(first.rotation, torch.eye(3), atol=1e-5)


def test_known_exposures_are_evened_out():
    views = object_views()
    exposures = torch.tensor([0.5, 1.0, 0.25, 0.8, 0.4, 1.0, 0.6, 0.9])
    linear = linear_from_srgb(views.images) * 0.5
    taken = replace(views, images=srgb_from_linear(linear * exposures[:, None, None, None]))
    processor = LIRMImageProcessor(32, brightness_floor=0)
    frame = processor.find_frame(taken, exposures=exposures)
    assert frame.exposure == pytest.approx(exposures.mean().item())
    even = replace(views, images=srgb_from_linear(linear * exposures.mean()))
    wanted = processor.prepare(even, replace(frame, exposure=None))
    torch.testing.assert_close(processor.prepare(taken, frame, exposures).images, wanted.images, atol=2e-4, rtol=0)
    # an update later is brought to the same level, whatever its own mean is
    later = processor.prepare(taken[[2, 4]], frame, exposures[[2, 4]])
    torch.testing.assert_close(later.images, wanted.images[[2, 4]], atol=2e-4, rtol=0)
    with pytest.raises(ValueError, match="for all photos"):
        processor.prepare(taken, frame)


def test_wild_exposures_are_told():
    views = object_views()
    images = views.images.clone()
    images[3] = srgb_from_linear(linear_from_srgb(images[3]) * 0.02)
    with pytest.warns(UserWarning, match="as in photo 3.*exposures="):
        LIRMImageProcessor(16).find_frame(replace(views, images=images))


@pytest.mark.parametrize("exposures", [[1.0] * 7, [1.0] * 7 + [0.0], [1.0] * 7 + [float("nan")]])
def test_impossible_exposures(exposures):
    with pytest.raises(ValueError, match="8 numbers above 0"):
        LIRMImageProcessor(16).find_frame(object_views(), exposures=torch.tensor(exposures))


def test_dark_objects_are_brightened_and_the_gain_is_undone():
    views = object_views()
    dark = replace(views, images=srgb_from_linear(linear_from_srgb(views.images) * 0.05))
    processor = LIRMImageProcessor(32)
    frame = processor.find_frame(dark)
    assert 1 < frame.gain <= 10
    inside = dark.masks.expand_as(dark.images) > 0.5
    light = linear_from_srgb(dark.images)[inside].mean() * frame.gain
    assert light == pytest.approx(0.08, rel=0.02) or frame.gain == 10
    seen = processor.prepare(dark, frame).images / 2 + 0.5
    plain = processor.prepare(dark, replace(frame, gain=1.0)).images / 2 + 0.5
    assert seen.mean() > plain.mean()


def test_given_bounds_are_kept():
    views = object_views()
    center, radius = visible_bounds(views.depths, views.masks, views.cameras)
    frame = LIRMImageProcessor(16).find_frame(views[[0]], center, radius)
    torch.testing.assert_close(frame.center, center, atol=1e-5, rtol=1e-5)
    assert frame.similarity.scale == pytest.approx(0.5 / radius)
    with pytest.raises(ValueError, match="belong together"):
        LIRMImageProcessor(16).find_frame(views, center)
    with pytest.raises(ValueError, match="a length above 0"):
        LIRMImageProcessor(16).find_frame(views, center, -1.0)


def test_an_object_outside_of_the_given_sphere():
    views = object_views()
    processor = LIRMImageProcessor(16)
    center, radius = visible_bounds(views.depths, views.masks, views.cameras)
    aside = processor.find_frame(views, center + 4 * radius * views.cameras.rotation[0, :, 0], radius)
    with pytest.raises(ValueError, match="view 0: 0% of the mask"):
        processor.prepare(views, aside)
    huge = processor.find_frame(views, center, 40 * radius)
    with pytest.raises(ValueError, match="center and radius"):
        processor.prepare(views, huge)


def test_cameras_of_another_world():
    views = object_views()
    processor = LIRMImageProcessor(16)
    frame = processor.find_frame(views[:4])
    moved = views.cameras.camera_to_world.clone()
    moved[..., :3, 3] += 3 / frame.similarity.scale
    other = replace(views, cameras=replace(views.cameras, camera_to_world=moved))
    with pytest.raises(ValueError, match="another world"):
        processor.prepare(other[4:], frame)


def test_masks_at_the_edge_are_told():
    views = object_views()
    top, left, side = 0, 0, 64
    squares = mask_squares(views.masks)
    cut = int(squares[0, 0] + squares[0, 2] / 2)
    cropped = views.crop(top, left, side, cut)
    frame = LIRMImageProcessor(16).find_frame(views)
    with pytest.warns(UserWarning, match=r"touches the edge of 1 of 1 photos \(view 0\)"):
        LIRMImageProcessor(16).prepare(cropped[[0]], frame)


def test_one_side_is_told():
    views = object_views()
    nearest = (views.cameras.centers - views.cameras.centers[0]).norm(dim=-1).argsort()[:2]
    with pytest.warns(UserWarning, match="from one side"):
        LIRMImageProcessor(16).find_frame(views[nearest])


@pytest.mark.parametrize("options", [{"size": 0}, {"views_per_step": 0}, {"brightness_floor": 1.5}])
def test_impossible_settings(options):
    with pytest.raises(ValueError, match="must be 1 or more"):
        LIRMImageProcessor(**options)


def test_the_processor_is_saved_with_a_checkpoint(tmp_path):
    LIRMImageProcessor(64, 4, 0.1).save_pretrained(tmp_path)
    again = LIRMImageProcessor.from_pretrained(tmp_path)
    assert (again.size, again.views_per_step, again.brightness_floor) == (64, 4, 0.1)
