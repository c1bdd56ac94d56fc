"""MVGD and MV-DUSt3R+ answer every table of their protocols, with the scores that training validates by."""

import pytest
import torch

from anyviews.evaluation.methods import evaluation_method, mvdust3r, mvgd
from anyviews.evaluation.novel_views import evaluate_novel_views, held_out_scenes
from anyviews.evaluation.pointmaps import evaluate_pointmaps, held_out_rooms
from anyviews.evaluation.protocols import METHODS, find_protocol
from anyviews.evaluation.runner import evaluate_case, need_of
from anyviews.models.mvdust3r import MVDust3rPlusImageProcessor, MVDust3rPlusModel
from anyviews.models.mvgd import MVGDImageEncoder, MVGDTransformerModel, default_scheduler
from anyviews.pipelines import MVDust3rPlusPipeline, MVGDPipeline


@pytest.fixture(scope="module")
def generator() -> MVGDPipeline:
    """An MVGD with random weights."""
    transformer = MVGDTransformerModel.from_size(
        "tiny", image_size=16, num_blocks=1, num_latents=4, latent_dim=16, token_dim=16
    )
    encoder = MVGDImageEncoder("conv_stem", transformer.config.image_feature_dim)
    pipe = MVGDPipeline(encoder, transformer, default_scheduler(transformer.config))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def reconstructor() -> MVDust3rPlusPipeline:
    """An MV-DUSt3R+ with random weights, two references and Gaussian heads."""
    model = MVDust3rPlusModel.from_size(
        "tiny", image_size=32, encoder_num_layers=1, decoder_num_layers=1, num_references=2, use_gaussians=True
    ).eval()
    return MVDust3rPlusPipeline(model, MVDust3rPlusImageProcessor(32))


def measured(method, pipe, seed=0):
    """The record of the first case of the procedural protocol, by table and variant."""
    protocol = find_protocol(method.__name__.rpartition(".")[2], "procedural")
    need = need_of(protocol, method, pipe, None)
    name = protocol.source.names(need, 1)[0]
    record, result = evaluate_case(protocol, method, pipe, need, name, seed)
    assert set(record["tables"]) == {table.name for table in protocol.tables}
    main = record["tables"][protocol.ranking.table]
    assert {*protocol.baselines} <= {row["variant"] for row in main}
    return record, result, {(table, row["variant"]): row for table, rows in record["tables"].items() for row in rows}


def test_mvgd_has_the_scores_of_training(generator):
    record, result, rows = measured(mvgd, generator)
    expected = evaluate_novel_views(generator, held_out_scenes(1, 16), mvgd.SETTINGS)["rows"]
    for variant in (*mvgd.SETTINGS, "nearest context view", "mean colour"):
        for metric, value in expected[variant].items():
            assert rows["quality", variant][metric] == pytest.approx(value, rel=1e-5)
    assert rows["quality", "best constant depth of each view"]["absrel"] > 0
    assert rows["views", "3 context views"]["psnr"] == rows["quality", "1 step"]["psnr"]
    assert all(rows["parallax", f"pair {pair}"]["position"] > 0 for pair in range(4))
    assert result.pictures["truth"].shape == (1, 3, 16, 16)
    assert measured(mvgd, generator)[0] == record != measured(mvgd, generator, seed=1)[0]


def test_mvdust3r_has_the_scores_of_training(reconstructor, monkeypatch):
    monkeypatch.setattr(mvdust3r, "ROOMS_OF_MEAN", 2)
    _, result, rows = measured(mvdust3r, reconstructor)
    expected = evaluate_pointmaps(reconstructor.model, held_out_rooms(1, 32))["means"]
    for metric, value in expected.items():
        assert rows["quality", "2 references"][metric] == pytest.approx(value, rel=1e-5)
        assert rows["views", "4 views"][metric] == rows["quality", "2 references"][metric]
    assert rows["quality", "true points"]["error"] < 1e-6 and rows["quality", "identity poses"]["error"] is None
    # what fuses paths starts as the identity
    assert rows["quality", "1 reference"]["error"] == pytest.approx(expected["error"], rel=1e-4)
    assert rows["rotation", "2 references"]["position"] == rows["quality", "identity poses"]["rotation"]
    assert rows["rendering", "Gaussian heads"]["psnr"] > 0 and rows["rooms", "mean"]["distance_to_points"] > 1
    assert len(result.pictures["photos"]) == 4
    mvdust3r._mean_pointmap.cache_clear()


def test_posed_photos_need_no_depth(generator, reconstructor, shared_data):
    for method, pipe, name in ((mvgd, generator, "banana"), (mvdust3r, reconstructor, "banana")):
        protocol = find_protocol(method.__name__.rpartition(".")[2], "posed")
        need = need_of(protocol, method, pipe, shared_data)
        record, _ = evaluate_case(protocol, method, pipe, need, name, 0)
        assert [*record["tables"]] == ["quality"]


def test_every_method_of_a_protocol_can_be_evaluated():
    for name in METHODS:
        module = evaluation_method(name)
        assert callable(module.evaluate) and callable(module.image_size) and hasattr(module.MODEL, "from_pretrained")
    with pytest.raises(ValueError, match="does not know the method dust"):
        evaluation_method("dust")


def test_no_gradients_are_kept(generator):
    images = measured(mvgd, generator)[1].pictures["10 steps"]
    assert isinstance(images, torch.Tensor) and not images.requires_grad
