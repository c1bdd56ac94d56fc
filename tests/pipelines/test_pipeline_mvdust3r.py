"""MVDust3rPlusPipeline: cameras, depth and Gaussians in original pixels, groups, loading."""

import logging

import numpy as np
import pytest
import torch
from geometry.pointmaps import rotation_errors
from known_scenes import SIDE, known_pipeline, room, small_pipeline
from PIL import Image
from strategies import random_similarity

from anyviews.cameras import Cameras
from anyviews.formats import load_scene, load_views, save_scene
from anyviews.formats.image_folder import to_uint8
from anyviews.geometry.rays import pixel_centers
from anyviews.models.mvdust3r import MVDust3rPlusOutput
from anyviews.pipelines.pipeline_mvdust3r import MVDust3rPlusPipeline
from anyviews.views import Views


def pictures(views: Views) -> list[Image.Image]:
    return [Image.fromarray(to_uint8(image.movedim(0, -1))) for image in views.images]


def enlarged(views: Views, height: int, width: int) -> tuple[list[Image.Image], Cameras]:
    """The photos twice as large inside of larger ones with a border that the processor crops; and their cameras."""
    frames = []
    top, left = (height - 2 * SIDE) // 2, (width - 2 * SIDE) // 2
    for picture in pictures(views):
        frame = Image.new("RGB", (width, height), "gray")
        frame.paste(picture.resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST), (left, top))
        frames.append(frame)
    intrinsics = views.cameras.intrinsics.clone()
    intrinsics[:, :2] *= 2
    intrinsics[:, :2, 2] += torch.tensor([left, top])
    return frames, Cameras.create(intrinsics, views.cameras.camera_to_world, height, width)


def assert_same_up_to_scale(found: Cameras, wanted: Cameras, atol: float = 1e-3):
    """The same cameras in the frame of the first, where only ratios of lengths mean something."""
    assert rotation_errors(found, wanted).max() < 0.1
    scale = wanted.centers.norm(dim=-1).max() / found.centers.norm(dim=-1).max()
    torch.testing.assert_close(found.centers * scale, wanted.centers, atol=atol, rtol=atol)


def test_photos_of_a_known_scene_give_its_cameras_back():
    views = room()
    output = known_pipeline(views)(pictures(views))
    assert_same_up_to_scale(output.cameras, views.cameras)
    torch.testing.assert_close(output.cameras.intrinsics, views.cameras.intrinsics, atol=1e-2, rtol=1e-3)
    assert output.found.all() and output.scale == "relative"
    known = output.kept & (views.depths[:, 0] > 0)
    ratios = (output.depths / views.depths)[:, 0][known]
    torch.testing.assert_close(ratios, ratios.median().expand_as(ratios), atol=0, rtol=1e-2)


@pytest.mark.parametrize("height, width", [(2 * SIDE, 132), (152, 2 * SIDE), (2 * SIDE, 2 * SIDE)])
def test_cameras_and_maps_are_in_pixels_of_the_original_photos(height, width):
    views = room()
    frames, cameras = enlarged(views, height, width)
    output = known_pipeline(views)(frames)
    assert output.cameras.image_sizes.tolist() == [[height, width]] * 6
    torch.testing.assert_close(output.cameras.intrinsics, cameras.intrinsics, atol=0.05, rtol=1e-3)
    assert torch.equal(output.focal_lengths[:, 0], output.cameras.intrinsics[:, 0, 0])
    maps = output.in_photo(2)
    assert maps["points"].shape == (height, width, 3) and maps["depth"].shape == (1, height, width)
    assert not maps["kept"][0, 0] or min(height, width) == max(height, width)
    # every point of the photo falls on its pixel
    pixels, depth = output.cameras[2].project(maps["points"].flatten(0, 1))
    kept = maps["kept"].flatten()
    distance = (pixels - pixel_centers(height, width).flatten(0, 1)).norm(dim=-1)[kept]
    assert distance.max() < 1.5  # two pixels of the photo have the same point
    torch.testing.assert_close(depth[kept], maps["depth"].flatten()[kept], atol=1e-4, rtol=1e-3)


def test_portrait_and_landscape_photos_of_one_camera():
    views = room()
    frames, wide = enlarged(views, 2 * SIDE, 132)
    tall_frames, tall = enlarged(views, 132, 2 * SIDE)
    output = known_pipeline(views)(frames[:3] + tall_frames[3:])
    cameras = Cameras.cat([wide[:3], tall[3:]])
    assert output.cameras.image_sizes.tolist() == cameras.image_sizes.tolist()
    torch.testing.assert_close(output.cameras.intrinsics, cameras.intrinsics, atol=0.05, rtol=1e-3)


def test_photos_of_two_sizes_have_focal_lengths_of_their_own():
    views = room(3)
    large, _ = enlarged(views, 2 * SIDE, 2 * SIDE)
    photos = [*large[:2], pictures(views)[2]]
    shared = known_pipeline(views)(photos, shared_focal=True).focal_lengths[:, 0]
    own = known_pipeline(views)(photos).focal_lengths[:, 0]
    wanted = views.cameras.intrinsics[:, 0, 0] * torch.tensor([2, 2, 1])
    torch.testing.assert_close(shared, wanted, atol=0, rtol=1e-3)
    torch.testing.assert_close(own, wanted, atol=0, rtol=0.03)


def test_noise_is_borne():
    views = room()
    output = known_pipeline(views, noise=0.02)(pictures(views))
    assert output.found.all()
    assert rotation_errors(output.cameras, views.cameras).max() < 2


@pytest.mark.parametrize("references", ["auto", [4, 1]])
def test_the_first_photo_gives_the_frame_whatever_the_references_are(references):
    views = room()
    output = known_pipeline(views)(pictures(views), references=references)
    torch.testing.assert_close(output.cameras.camera_to_world[0], torch.eye(4), atol=1e-5, rtol=0)
    assert_same_up_to_scale(output.cameras, views.cameras)
    if references != "auto":
        assert output.references == ((4, 1),)


def test_given_poses_give_the_world_and_its_unit():
    views = room()
    world = random_similarity(3, dtype=torch.float32)
    frames, cameras = enlarged(views, 2 * SIDE, 132)
    cameras = world.apply_cameras(cameras)
    output = known_pipeline(views, noise=0.01)(frames, cameras=cameras)
    assert output.scale == "aligned" and output.to_scene().scale == "aligned"
    torch.testing.assert_close(output.cameras.camera_to_world, cameras.camera_to_world)
    torch.testing.assert_close(output.cameras.intrinsics, cameras.intrinsics, atol=1e-3, rtol=1e-4)
    known = output.kept & (views.depths[:, 0] > 0)
    ratio = (output.depths[:, 0] / (views.depths[:, 0] * world.scale))[known]
    assert (ratio.median() - 1).abs() < 0.01


def test_given_intrinsics_alone():
    views = room()
    frames, cameras = enlarged(views, 2 * SIDE, 132)
    output = known_pipeline(views)(frames, intrinsics=cameras.intrinsics[0])
    torch.testing.assert_close(output.cameras.intrinsics, cameras.intrinsics, atol=1e-3, rtol=1e-4)
    assert_same_up_to_scale(output.cameras, views.cameras)
    assert output.scale == "relative"


def test_views_with_cameras_bring_the_world():
    views = room()
    output = known_pipeline(views)(views)
    torch.testing.assert_close(output.cameras.camera_to_world, views.cameras.camera_to_world)
    assert output.scale == "aligned"


def test_many_photos_are_reconstructed_in_groups_that_overlap():
    views = room(10)
    pipe = known_pipeline(views, noise=0.003)
    output = pipe(pictures(views), max_views=5)
    assert len(pipe.model.calls) == len(output.references) == 3
    assert all(len(call) <= 5 for call in pipe.model.calls)
    assert rotation_errors(output.cameras, views.cameras).max() < 1
    assert len(output.gaussians) == int(output.kept.sum())
    torch.testing.assert_close(output.gaussians.means, output.points[output.kept])
    whole = known_pipeline(views)(pictures(views))
    torch.testing.assert_close(
        output.points.flatten(0, 2).std(0) / whole.points.flatten(0, 2).std(0),
        torch.full((3,), 1 / 1.0),
        atol=0.02,
        rtol=0,
    )


def test_groups_that_do_not_fit_are_reported():
    views = room(10)
    pipe = known_pipeline(views)
    forward = pipe.model.forward

    def shuffled(*args, **kwargs):
        output = forward(*args, **kwargs)
        return MVDust3rPlusOutput(
            **{**output, "points": output.points.flip(2) if len(pipe.model.calls) > 1 else output.points}
        )

    pipe.model.forward = shuffled
    with pytest.warns(UserWarning, match="pass [23] fits the passes before it badly"):
        pipe(pictures(views), max_views=5)


def test_the_same_call_gives_the_same_result():
    views = room()
    pipe = small_pipeline()
    with pytest.warns(UserWarning):
        first, second = pipe(pictures(views)), pipe(pictures(views))
    assert torch.equal(first.points, second.points)
    assert torch.equal(first.cameras.camera_to_world, second.cameras.camera_to_world)


def test_saved_pipelines_load_and_give_the_same(tmp_path):
    views = room(3)
    pipe = small_pipeline()
    pipe.save_pretrained(tmp_path / "pipe")
    pipe.model.save_pretrained(tmp_path / "model")
    pipe.image_processor.save_pretrained(tmp_path / "model")
    pipe.model.save_pretrained(tmp_path / "bare")
    with pytest.warns(UserWarning):
        wanted = pipe(pictures(views)).points
        for name in ("pipe", "model", "bare"):
            loaded = MVDust3rPlusPipeline.from_pretrained(tmp_path / name)
            assert not loaded.model.training
            loaded.set_progress_bar_config(disable=True)
            assert torch.equal(loaded(pictures(views)).points, wanted), name


def test_half_precision_and_tuples():
    views = room(3)
    pipe = small_pipeline().to(torch.bfloat16)
    with pytest.warns(UserWarning):
        points, confidence, cameras = pipe(pictures(views), return_dict=False)
    assert points.dtype == confidence.dtype == cameras.dtype == torch.float32


def test_numpy_output_makes_the_same_scene():
    views = room()
    arrays = known_pipeline(views)(pictures(views), output_type="np")
    tensors = known_pipeline(views)(pictures(views))
    assert isinstance(arrays.points, np.ndarray) and arrays.depths.shape == (6, SIDE, SIDE)
    one, other = arrays.to_scene(), tensors.to_scene()
    assert torch.equal(one.depths, other.depths) and torch.equal(one.points.positions, other.points.positions)
    assert torch.equal(arrays.in_photo(1)["points"], tensors.in_photo(1)["points"])


@pytest.mark.parametrize("use_gaussians", [True, False])
def test_scenes_are_written_and_read_again(tmp_path, use_gaussians):
    views = room()
    frames, _ = enlarged(views, 2 * SIDE, 132)
    output = known_pipeline(views)(frames)
    if not use_gaussians:
        output.gaussians = None
    scene = output.to_scene()
    save_scene(scene, tmp_path / "points.ply", "ply")
    assert len(load_scene(tmp_path / "points.ply").points) == int(output.kept.sum())
    if use_gaussians:
        save_scene(scene, tmp_path / "splat.ply", "gaussian-ply")
        assert len(load_scene(tmp_path / "splat.ply").gaussians) == int(output.kept.sum())
    originals = Views(torch.stack([torch.from_numpy(np.array(f)).movedim(-1, 0) / 255 for f in frames]))
    save_scene(output.to_scene(originals), tmp_path / "colmap", "colmap")
    back = load_views(tmp_path / "colmap")
    assert (back.height, back.width) == (2 * SIDE, 132)
    torch.testing.assert_close(back.cameras.intrinsics, output.cameras.intrinsics)
    torch.testing.assert_close(back.cameras.camera_to_world, output.cameras.camera_to_world, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="5 photos of 96x132"):
        output.to_scene(originals[:5])


def test_uncertain_pixels_are_left_out_but_never_all():
    views = room()
    pipe = known_pipeline(views)
    assert pipe(pictures(views), confidence_percentile=0).kept.all()
    every = pipe(pictures(views), confidence_percentile=99)  # nearly all pixels are equally sure
    assert every.kept.any()
    pipe.model.points[:] = torch.inf
    with pytest.warns(UserWarning, match="no pose was found for 6 of 6"), pytest.raises(ValueError, match="no finite"):
        pipe(pictures(views), intrinsics=views.cameras.intrinsics)


def test_the_plan_is_logged_before_the_network_runs(caplog):
    views = room(10)
    pipe = known_pipeline(views)
    with caplog.at_level(logging.INFO):
        plan = pipe.plan(pipe.prepare(pictures(views)), max_views=6)
    assert not pipe.model.calls
    assert caplog.messages == [plan.describe()] and pipe.last_plan is plan
    assert plan.describe().startswith("10 photos in 2 passes of up to 6 photos, which overlap;")
    assert plan.seconds > 0
