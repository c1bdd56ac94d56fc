"""The shipped checkpoint does what its card says, on a few of the card's objects and on its own sample."""

import pytest
import torch
from safetensors.torch import load_file

from anyviews.evaluation.objects import evaluate_objects, held_out_objects
from anyviews.formats import load_views
from anyviews.pipelines.pipeline_lirm import LIRMPipeline


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "checkpoints" / "lirm-tiny"


@pytest.fixture(scope="module")
def pipe(folder) -> LIRMPipeline:
    pipe = LIRMPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_it_is_small_and_in_bfloat16(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 10e6
    for weights in folder.rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}


def test_it_beats_the_nearest_photo_and_more_photos_help(pipe):
    rows = evaluate_objects(pipe.model.float(), held_out_objects(6, 64, 2), samples=96)["rows"]
    first, second = rows["1 set"], rows["2 sets"]
    assert first["psnr"] > rows["nearest view"]["psnr"] + 5
    assert second["psnr"] > first["psnr"] + 0.3
    assert second["mask_iou"] > first["mask_iou"] > 0.75
    assert second["base_color_psnr"] > first["base_color_psnr"] > 19


def test_the_bundled_sample_becomes_a_mesh_that_is_refined(pipe, folder, tmp_path):
    photos = load_views(folder / "sample")
    quick = {"resolution": 48, "texture_size": 128, "max_faces": 1500}
    asset = pipe(photos[:4], output_type="planes")
    asset = pipe.update(asset, photos[4:], **quick)
    assert len(asset.cameras) == len(photos) and len(asset.mesh.faces) > 100
    covered = asset.render_views(photos.cameras).masks > 0.5
    known = photos.masks > 0.5
    assert (covered & known).sum() / (covered | known).sum() > 0.85
    asset.save(tmp_path / "object.glb")
    assert (tmp_path / "object.glb").stat().st_size > 10_000
