"""LIRMPipeline refuses what it cannot use, and says what to do."""

from dataclasses import replace

import pytest
import torch
from lirm_assets import QUICK, ball_asset, object_views, pipeline
from models.lirm.small_lirm import ball_model, small_model

from anyviews.environment import Environment
from anyviews.models.lirm import LIRMImageProcessor
from anyviews.pipelines.output_lirm import LIRMAsset
from anyviews.pipelines.pipeline_lirm import LIRMPipeline


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views_per_step": 0}, "views_per_step=0"),
        ({"order": "random"}, "spread, capture"),
        ({"output_type": "glb"}, "asset, maps, planes"),
        ({"resolution": 2}, "resolution=2"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        pipeline()(object_views()[:3], **options)


def test_photos_without_masks():
    views = replace(object_views()[:3], masks=None)
    with pytest.raises(ValueError, match=r"the object is not known.*background_remover"):
        pipeline()(views)


def test_an_empty_mask():
    views = object_views()[:3]
    masks = views.masks.clone()
    masks[1] = 0
    with pytest.raises(ValueError, match="the mask of view 1 is empty"):
        pipeline()(replace(views, masks=masks))


def test_a_full_mask():
    views = object_views()[:3]
    with pytest.raises(ValueError, match=r"covers 100\.0% of the frame"):
        pipeline()(replace(views, masks=torch.ones_like(views.masks)))


def test_masks_for_other_photos():
    views = object_views()
    with pytest.raises(ValueError, match="3 photos but 2 masks"):
        pipeline()(views[:3], masks=views.masks[:2])


def test_no_cameras():
    with pytest.raises(ValueError, match="no cameras"):
        pipeline()(replace(object_views()[:3], cameras=None))


def test_one_photo():
    with pytest.raises(ValueError, match="one photo does not tell"):
        pipeline()(object_views()[:1])


def test_one_photo_of_an_object_whose_place_is_known():
    frame = pipeline().image_processor.find_frame(object_views())
    asset = pipeline()(
        object_views()[:1],
        center=frame.center,
        radius=float(0.5 / frame.similarity.scale),
        output_type="planes",
    )
    assert asset.state.updates == 1


def test_left_handed_poses():
    views = object_views()[:3]
    mirrored = views.cameras.camera_to_world * torch.tensor([-1.0, 1, 1, 1])
    with pytest.raises(ValueError, match="mirror"):
        pipeline()(replace(views, cameras=replace(views.cameras, camera_to_world=mirrored)))


def test_poses_of_another_convention():
    views = object_views()
    opengl = views.cameras.camera_to_world * torch.tensor([1.0, -1, -1, 1])
    with pytest.raises(ValueError, match="convention"):
        pipeline()(replace(views, cameras=replace(views.cameras, camera_to_world=opengl)))


def test_an_update_in_another_world():
    views = object_views()[4:6]
    moved = views.cameras.camera_to_world.clone()
    moved[..., :3, 3] *= 30
    with pytest.raises(ValueError, match="another world"):
        pipeline().update(ball_asset(), replace(views, cameras=replace(views.cameras, camera_to_world=moved)))


def test_an_asset_of_another_model(tmp_path):
    ball_asset().save(tmp_path / "kept")
    with pytest.raises(ValueError, match="belongs to the model that made it"):
        pipeline(small_model(hidden_size=16)).load_asset(tmp_path / "kept")


def test_no_surface():
    with pytest.raises(ValueError, match=r"found no surface.*masks"):
        pipeline(ball_model(-0.2))(object_views()[:3], **QUICK)


def test_a_surface_that_fills_the_box_is_closed_at_its_sides():
    mesh = pipeline(ball_model(0.6))(object_views()[:3], **QUICK).mesh
    edges = torch.cat([mesh.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    # the unwrapped mesh doubles vertices on cuts: they are put together by place
    _, same = mesh.vertices.mul(1e4).round().unique(dim=0, return_inverse=True)
    _, counts = same[edges].sort(dim=1).values.unique(dim=0, return_counts=True)
    assert (counts == 2).float().mean() > 0.98


def test_no_mesh_to_write(tmp_path):
    asset = pipeline(small_model())(object_views()[:3], output_type="planes")
    for use in (lambda: asset.save(tmp_path / "a.glb"), asset.to_scene):
        with pytest.raises(ValueError, match="no mesh"):
            use()


@pytest.mark.parametrize("value", [float("nan"), -1.0])
def test_environments_that_are_no_light(value):
    light = torch.ones(3, 8, 16)
    light[0, 2, 3] = value
    with pytest.raises(ValueError, match="row 2, column 3"):
        ball_asset().relight(Environment(light), object_views().cameras[:1].resize(8, 8))


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"LIRMAsset\.save"):
        LIRMAsset.load(tmp_path)
    (tmp_path / "asset.json").write_text('{"format": "cake"}')
    with pytest.raises(ValueError, match="cake"):
        LIRMAsset.load(tmp_path)


def test_a_processor_of_another_model():
    with pytest.raises(ValueError, match="multiple"):
        LIRMPipeline(small_model(), LIRMImageProcessor(20))
