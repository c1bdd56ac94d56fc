"""anyviews eval of MVBoost: rows of all tables, with the adapter and without it."""

from dataclasses import replace

import pytest
import torch
from models.era3d.small_era3d import small_pipeline
from models.lgm.plain_lgm import small_model

from anyviews.evaluation.case import Case
from anyviews.evaluation.methods import mvboost
from anyviews.evaluation.protocols.mvboost import PROCEDURAL
from anyviews.evaluation.protocols.sources import Need
from anyviews.evaluation.report import case_record
from anyviews.models.lgm import lgm_frame, lgm_lora_config
from anyviews.pipelines.pipeline_mvboost import MVBoostPipeline
from anyviews.rendering.gaussians import render_on_white


TINY = {"down_channels": (32, 32), "down_attention": (False, True), "up_channels": (32,), "up_attention": (True,)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A pipeline of random weights with a strong random adapter beside it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mvboost")
    model = small_model(**TINY)
    multiview = small_pipeline()
    multiview.register_to_config(num_inference_steps=2)
    MVBoostPipeline(multiview, model).save_pretrained(folder)
    model.add_lora(lgm_lora_config(2))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=1.0)
    model.save_lora_weights(folder / mvboost.ADAPTER)
    return folder


@pytest.fixture
def pipe(checkpoint) -> MVBoostPipeline:
    pipe = MVBoostPipeline.from_pretrained(checkpoint)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def case() -> Case:
    need = Need(PROCEDURAL.most_context_views, PROCEDURAL.most_target_views, (16, 16))
    return PROCEDURAL.source.read(PROCEDURAL.source.names(need, 1)[0], need)


def test_every_table_has_its_rows(pipe, case):
    result = mvboost.evaluate(pipe, case, PROCEDURAL)
    record = case_record(case.name, 0, result.rows, PROCEDURAL)
    variants = {table: [row["variant"] for row in rows] for table, rows in record["tables"].items()}
    strengths = ["no refinement", "renders", "0.5", "0.9", "0.95", "1"]
    assert variants == {
        "quality": ["input image", "mean colour", "unboosted", "boosted"],
        "true views": ["unboosted", "boosted"],
        "strength": strengths,
        "refined": strengths,
    }
    scores = {(row.table, row.variant): dict(row.scores) for row in result.rows}
    assert scores["quality", "unboosted"] != scores["quality", "boosted"]
    assert scores["quality", "unboosted"] == scores["refined", "no refinement"], "the same Gaussians"
    again = mvboost.evaluate(pipe, case, PROCEDURAL)
    assert [row.scores for row in again.rows] == [row.scores for row in result.rows]


def test_without_the_adapter_it_is_the_plain_model(pipe, checkpoint, case):
    plain = MVBoostPipeline.from_pretrained(checkpoint)
    images = torch.rand(6, 3, 16, 16)
    expected = plain.reconstruct(images)
    mvboost.require_adapter(pipe)
    torch.testing.assert_close(mvboost.reconstruct(pipe, images, boosted=False).means, expected.means)
    plain.load_lora_weights(checkpoint / mvboost.ADAPTER)
    boosted = mvboost.reconstruct(pipe, images, boosted=True).means
    torch.testing.assert_close(boosted, plain.reconstruct(images).means)
    assert not torch.allclose(boosted, expected.means, atol=1e-3)


def test_targets_are_seen_where_the_generated_views_are(pipe, case):
    """The second level view, 45 degrees to the right, is the second that is generated."""
    config = pipe.reconstructor.config
    gaussians = pipe.reconstruct(torch.rand(6, 3, 16, 16))[0]
    judge = mvboost.Judge(pipe, case.context[:1], case.targets)
    # the turntable has another lens; at LGM's own one the pictures would be those of the pipeline
    frame = lgm_frame(case.context.cameras[:1], config)
    moved = frame.apply_cameras(case.targets.cameras)
    own = pipe.view_cameras(16)
    toward = torch.nn.functional.normalize(moved.centers[0], dim=-1)
    torch.testing.assert_close(toward, torch.nn.functional.normalize(own.centers[1], dim=-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(judge.images(gaussians), render_on_white(gaussians, moved).images.clamp(0, 1))


def test_what_is_missing_is_named(pipe, case, tmp_path):
    with pytest.raises(ValueError, match="has no mask"):
        mvboost.evaluate(pipe, replace(case, context=replace(case.context, masks=None)), PROCEDURAL)
    pipe.unload_lora_weights()
    pipe.save_pretrained(tmp_path / "plain")
    plain = MVBoostPipeline.from_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="lora is no folder: the checkpoint has no boosting adapter"):
        mvboost.evaluate(plain, case, PROCEDURAL)
