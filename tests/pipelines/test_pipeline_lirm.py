"""LIRMPipeline: from photos to an asset in the user's world, and from there on."""

import json
from dataclasses import replace

import pytest
import torch
from lirm_assets import BALL, QUICK, ball_asset, object_views, pipeline
from live_bytes import LiveBytes
from models.lirm.small_lirm import ball_model, small_model

from anyviews.cameras import Cameras
from anyviews.environment import Environment
from anyviews.formats.mesh_files import read_mesh
from anyviews.geometry.similarity import Similarity
from anyviews.models.lirm import LIRMConfig, LIRMImageProcessor, ObjectFrame
from anyviews.pipelines.output_lirm import LIRMAsset
from anyviews.pipelines.pipeline_lirm import LIRMPipeline, farthest_order, photo_sets


def elsewhere() -> Similarity:
    """Another world: turned, a third of the size and far away."""
    angle = torch.tensor(0.7)
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1.0]])
    return Similarity(torch.tensor(1 / 3), turn, torch.tensor([4.0, -2, 7]))


def test_the_mesh_stands_where_the_object_is():
    asset = ball_asset()
    scale = asset.frame.similarity.scale
    radii = (asset.mesh.vertices - asset.frame.center).norm(dim=-1) * scale
    assert (radii - BALL).abs().max() < 0.03
    material = asset.mesh.material
    assert material.base_color.shape == (3, 32, 32) and material.roughness.shape == (1, 32, 32)
    assert asset.mesh.validate() and 50 < len(asset.mesh) <= 300
    outward = asset.mesh.vertices - asset.frame.center
    assert ((asset.mesh.vertex_normals * outward).sum(-1) > 0).all()


def test_what_is_rendered_stands_there_too():
    asset, views = ball_asset(), object_views()
    cameras = views.cameras[[0, 7]].resize(24, 24)
    seen = asset.render_views(cameras, samples=128, sharpness=200.0)
    lit = asset.relight(Environment(torch.ones(3, 8, 16)), cameras, method="prefiltered")
    rendered, meshed = seen.masks > 0.5, lit.masks > 0.5
    assert (rendered & meshed).sum() / (rendered | meshed).sum() > 0.85
    # z-depth and normals in the user's world agree with those of the mesh
    both = (seen.depths > 0) & (lit.depths > 0)
    assert both.any()
    error = (seen.depths - lit.depths).abs()[both] * asset.frame.similarity.scale
    assert error.median() < 0.03
    assert seen.validate() and ((seen.images >= 0) & (seen.images <= 1)).all()


def test_the_asset_follows_the_users_world():
    """The same photos in another world give the same object there."""
    model, views = small_model(), object_views()[:4]
    pipe = pipeline(model)
    here = pipe(views, output_type="planes")
    moved = replace(views, cameras=elsewhere().apply_cameras(views.cameras), depths=None)
    there = pipe(moved, output_type="planes")
    torch.testing.assert_close(there.state.planes, here.state.planes, atol=2e-3, rtol=2e-3)
    expected = elsewhere().apply(here.frame.center[None])[0]
    torch.testing.assert_close(there.frame.center, expected, atol=2e-3, rtol=1e-3)


def test_first_photos_and_later_ones_are_one_run_in_two_parts():
    pipe, views = pipeline(small_model()), object_views()
    first = pipe(views[:4], output_type="planes")
    kept = first.state.planes.clone()
    second = pipe.update(first, views[4:7], output_type="planes")
    assert torch.equal(first.state.planes, kept) and len(first.history) == 1
    assert second.state.updates == 2 and not torch.equal(second.state.planes, kept)
    assert [photos.names for photos in second.history] == [tuple(views.names[:4]), tuple(views.names[4:7])]
    # by hand: the same frame, one set after the other
    inputs = pipe.image_processor.prepare(views[:7], first.frame)
    with torch.no_grad():
        output = pipe.model(**pipe.encode(inputs, [4, 5, 6]), state=first.state)
    torch.testing.assert_close(second.state.planes, output.state.planes)
    torch.testing.assert_close(second.planes.planes, output.planes.planes)
    assert second.frame == first.frame


def test_ten_updates_need_the_memory_of_two():
    pipe, views = pipeline(small_model()), object_views()
    asset, peaks = pipe(views[:4], output_type="planes"), []
    for _ in range(9):
        with LiveBytes() as live:
            asset = pipe.update(asset, views[4:8], output_type="planes")
        peaks.append(live.peak)
    assert asset.state.updates == 10
    assert max(peaks[1:]) <= 1.02 * min(peaks[1:])


def test_the_folder_loads_again_and_can_be_updated(tmp_path):
    views, asset, pipe = object_views(), ball_asset(), pipeline(ball_asset().model)
    asset.save(tmp_path / "kept")
    again = pipe.load_asset(tmp_path / "kept")
    assert torch.equal(again.state.planes, asset.state.planes) and again.state.updates == 1
    torch.testing.assert_close(again.mesh.vertices, asset.mesh.vertices)
    assert torch.equal(again.cameras.camera_to_world, asset.cameras.camera_to_world)
    updated, expected = (pipe.update(a, views[4:6], output_type="planes") for a in (again, asset))
    assert torch.equal(updated.state.planes, expected.state.planes)
    bare = LIRMAsset.load(tmp_path / "kept")
    with pytest.raises(ValueError, match="load_asset"):
        bare.render_views(views.cameras[:1])
    with pytest.raises(ValueError, match="not empty"):
        asset.save(tmp_path / "kept")
    asset.save(tmp_path / "kept", overwrite=True)


def test_evidence_of_earlier_photos_is_kept_with_the_state(tmp_path):
    pipe, views = pipeline(small_model(sweep_size=2)), object_views()
    asset = pipe(views[:4], output_type="planes")
    asset.save(tmp_path / "kept")
    updated, expected = (
        pipe.update(a, views[4:6], output_type="planes") for a in (pipe.load_asset(tmp_path / "kept"), asset)
    )
    assert torch.equal(updated.state.planes, expected.state.planes)
    assert torch.equal(updated.state.evidence, expected.state.evidence)


def test_files_of_the_mesh(tmp_path):
    asset = ball_asset()
    for name in ("object.glb", "object.obj", "object.ply"):
        asset.save(tmp_path / name)
        assert len(read_mesh(tmp_path / name)) == len(asset.mesh)
    scene = asset.to_scene()
    assert scene.mesh is asset.mesh and len(scene.cameras) == 4 and scene.scale == "aligned"


def test_usdz(tmp_path):
    usd = pytest.importorskip("pxr.Usd")
    ball_asset().save(tmp_path / "object.usdz")
    stage = usd.Stage.Open(str(tmp_path / "object.usdz"))
    assert any(prim.GetTypeName() == "Mesh" for prim in stage.Traverse())


def test_a_turntable_is_a_video_of_the_object(tmp_path):
    views = ball_asset().turntable(tmp_path / "turn.mp4", Environment(torch.ones(3, 8, 16)), frames=3, size=24)
    assert views.images.shape == (3, 3, 24, 24) and (tmp_path / "turn.mp4").stat().st_size > 0
    covered = views.masks.flatten(1).mean(1)
    assert (covered > 0.01).all() and views.masks[:, 0, 0, 0].max() == 0 and views.images[:, :, 0, 0].min() > 0.999


def test_maps_are_those_of_the_last_photos():
    views = object_views()[:2].resize(32, 32)
    asset = pipeline(small_model())(views, output_type="maps")
    assert asset.mesh is None and asset.maps.images.shape == views.images.shape
    assert asset.maps.base_colors is not None and asset.maps.roughness is not None


def test_a_model_of_radiance_alone_gives_a_mesh_in_its_colors():
    asset = pipeline(ball_model(BALL, prediction_type="rgb"))(object_views()[:4], **QUICK)
    assert (asset.mesh.material.roughness == 1).all() and (asset.mesh.material.metallic == 0).all()


def test_the_predicted_normals_are_baked():
    model = ball_model(BALL)
    found = [pipeline(model)(object_views()[:4], **QUICK).mesh.material.normals]
    torch.nn.init.zeros_(model.decoders.heads["normal"].last.weight)  # the ball's own
    found.append(pipeline(model)(object_views()[:4], **QUICK).mesh.material.normals)
    bent, plain = ((normals - torch.tensor([0.0, 0.0, 1.0])[:, None, None]).norm(dim=0) for normals in found)
    assert plain.median() < 0.1 and bent.median() > 0.2


def test_a_model_without_backgrounds():
    asset = pipeline(small_model(use_background=False))(object_views()[:3], output_type="planes")
    assert asset.state.updates == 1


def test_a_checkpoint_of_the_model_alone_is_enough(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    pipe = LIRMPipeline.from_pretrained(tmp_path)
    assert pipe.image_processor.size == 16
    LIRMImageProcessor(32, 3).save_pretrained(tmp_path)
    assert LIRMPipeline.from_pretrained(tmp_path).image_processor.views_per_step == 3
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="needs one of type 'lirm'"):
        LIRMPipeline.from_pretrained(tmp_path)


def test_a_model_alone_is_looked_for_where_it_was_asked_for(tmp_path, monkeypatch):
    asked, read = [], LIRMConfig.get_config_dict
    small_model().save_pretrained(tmp_path)

    def record(name, **options):
        asked.append(options)
        return read(name, **options)

    monkeypatch.setattr(LIRMConfig, "get_config_dict", record)
    LIRMPipeline.from_pretrained(tmp_path, revision="v2", local_files_only=True)
    assert {"revision": "v2", "local_files_only": True} in asked


def test_sets_are_of_nearly_one_size_and_hold_every_photo_once():
    cameras = object_views().cameras
    eye = ObjectFrame(Similarity(torch.tensor(1.0), torch.eye(3), torch.zeros(3)))
    for order in ("spread", "capture"):
        sets = photo_sets(cameras, eye, 4, order)
        assert sorted(len(photos) for photos in sets) == [3, 3, 4] and sets[0][0] == 0
        assert sorted(index for photos in sets for index in photos) == list(range(10))
    assert [photos[0] for photos in sets] == [0, 4, 7]  # of the last order, as captured
    assert photo_sets(cameras[:3], eye, 4, "spread") == [[0, 1, 2]]


def test_spread_photos_are_far_apart():
    angles = torch.arange(8) / 8 * 2 * torch.pi
    points = torch.stack([angles.cos(), angles.sin(), torch.zeros(8)], dim=-1)
    order = farthest_order(points)
    assert order[:2] == [0, 4] and set(order[2:4]) == {2, 6} and sorted(order) == list(range(8))


def test_photos_as_files_and_masks_as_tensors(tmp_path):
    views = object_views()[:3]
    pipe = pipeline(small_model())
    expected = pipe(views, output_type="planes").state.planes
    images = [image.movedim(0, -1).numpy() for image in views.images]
    found = pipe(images, views.cameras, views.masks, output_type="planes")
    torch.testing.assert_close(found.state.planes, expected, atol=1e-5, rtol=1e-5)
    transparent = torch.cat([views.images, views.masks], dim=1)
    found = pipe(transparent, views.cameras, output_type="planes")
    torch.testing.assert_close(found.state.planes, expected, atol=1e-5, rtol=1e-5)


def test_cameras_are_kept_as_given():
    asset, views = ball_asset(), object_views()
    assert isinstance(asset.cameras, Cameras)
    assert torch.equal(asset.cameras.intrinsics, views.cameras.intrinsics[:4])
