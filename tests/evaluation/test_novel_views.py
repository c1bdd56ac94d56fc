"""Held-out scenes, and the evaluation of a pipeline whose answers are known."""

import pytest
import torch
from PIL import Image

from anyviews.data.procedural import HELD_OUT_SEED_START
from anyviews.evaluation.novel_views import (
    constant_depth_scores,
    evaluate_novel_views,
    held_out_scenes,
    scene_scales,
)
from anyviews.models.mvgd import MVGDImageEncoder, MVGDTransformerModel, default_scheduler
from anyviews.pipelines import MVGDPipeline


@pytest.fixture(scope="module")
def untrained() -> MVGDPipeline:
    """Zero heads: in one step it predicts the clean state 0, a grey image at the middle of the depth range."""
    transformer = MVGDTransformerModel.from_size(
        "tiny", image_size=16, num_blocks=1, num_latents=4, latent_dim=16, token_dim=16
    )
    pipe = MVGDPipeline(
        MVGDImageEncoder("conv_stem", transformer.config.image_feature_dim),
        transformer,
        default_scheduler(transformer.config),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_scenes_are_held_out_and_targets_do_not_depend_on_the_context():
    assert HELD_OUT_SEED_START >= 2**31
    few, many = (held_out_scenes(2, 16, context_views=n, targets=2) for n in (2, 6))
    for a, b in zip(few, many, strict=True):
        assert torch.equal(a.targets.images, b.targets.images)
        assert torch.equal(a.context.images, b.context.images[:2])
        assert len(b.context) == 6
        centers = torch.cat([b.context.cameras.centers, b.targets.cameras.centers])
        assert len(centers.unique(dim=0)) == 8


def test_known_answers_get_their_scores(untrained, tmp_path):
    scenes = held_out_scenes(3, 16)
    picture = tmp_path / "sheet.png"
    report = evaluate_novel_views(untrained, scenes, {"grey": (1, 1)}, picture=picture, keep_outputs=True)
    config = untrained.transformer.config
    middle = (config.depth_min * config.depth_max) ** 0.5
    for i, scene in enumerate(scenes):
        truth = scene.targets.images
        grey = -10 * (truth - 0.5).square().mean().log10()
        assert report["scenes"][i]["grey"]["psnr"] == pytest.approx(grey.item(), abs=1e-3)
        expected = (scene_scales(scene) * middle - scene.targets.depths).abs() / scene.targets.depths
        assert report["scenes"][i]["grey"]["absrel"] == pytest.approx(expected.mean().item(), rel=1e-3)
    mean = sum(row["grey"]["psnr"] for row in report["scenes"]) / 3
    assert report["rows"]["grey"]["psnr"] == pytest.approx(mean)
    assert report["images"].shape == (3, 3, 16, 16)
    # nearest view, truth and its depth, generated image and depth; three scenes side by side, enlarged three times
    assert Image.open(picture).size == (3 * 16 * 3, 5 * 16 * 3)


def test_the_best_constant_is_exact_where_depth_is_constant():
    depths = torch.full((4, 1, 2, 2), 3.0)
    units = torch.full((4,), 3.0)
    assert constant_depth_scores(depths, units)["absrel"].max() < 1e-5
    assert constant_depth_scores(depths, torch.tensor([1.0, 2.0, 4.0, 8.0]))["absrel"].mean() > 0.3
