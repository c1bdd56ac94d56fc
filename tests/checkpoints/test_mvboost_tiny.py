"""The shipped checkpoint does what its card says, on a few of the card's objects."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from anyviews.evaluation.methods import mvboost
from anyviews.evaluation.protocols.mvboost import PROCEDURAL
from anyviews.evaluation.protocols.sources import Need
from anyviews.pipelines.pipeline_mvboost import MVBoostPipeline


OBJECTS = 8
PROTOCOL = replace(PROCEDURAL, tables=PROCEDURAL.tables[:2])
# LGM keeps its last convolutions in full precision.
PRECISE = ("unet.conv_out.", "conv.")


@pytest.fixture(scope="module")
def pipe(repository) -> MVBoostPipeline:
    pipe = MVBoostPipeline.from_pretrained(repository / "checkpoints" / "mvboost-tiny")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def scores(pipe) -> dict[tuple[str, str], float]:
    """Mean PSNR of the variants of each table."""
    size = mvboost.image_size(pipe)
    need = Need(PROTOCOL.most_context_views, PROTOCOL.most_target_views, (size, size))
    found: dict[tuple[str, str], list[float]] = {}
    for index, name in enumerate(PROTOCOL.source.names(need, OBJECTS)):
        # as the card's command: one noise for all objects moves the mean by 1 dB
        case = replace(PROTOCOL.source.read(name, need), seed=index)
        with torch.no_grad():
            rows = mvboost.evaluate(pipe, case, PROTOCOL).rows
        for row in rows:
            found.setdefault((row.table, row.variant), []).append(row.scores["psnr"])
    return {key: sum(values) / len(values) for key, values in found.items()}


def test_it_is_small_and_in_bfloat16(repository):
    folder = repository / "checkpoints" / "mvboost-tiny"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 15e6
    for path in folder.rglob("*.safetensors"):
        for name, tensor in load_file(path).items():
            assert tensor.dtype == torch.bfloat16 or name.startswith(PRECISE), (path, name)


def test_one_image_gives_more_than_the_image_itself(scores):
    blind = max(scores["quality", "input image"], scores["quality", "mean colour"])
    assert scores["quality", "unboosted"] > blind + 0.2 and scores["quality", "boosted"] > blind + 0.2


def test_the_adapter_does_no_harm_on_generated_views_and_costs_a_little_on_true_ones(scores):
    gain = {table: scores[table, "boosted"] - scores[table, "unboosted"] for table in ("quality", "true views")}
    assert gain["quality"] > -0.1
    assert -1 < gain["true views"] < gain["quality"]


def test_lgm_of_true_views_beats_answers_that_know_no_geometry(scores):
    blind = max(scores["quality", "input image"], scores["quality", "mean colour"])
    assert scores["true views", "unboosted"] > blind + 2


def test_every_photo_of_an_object_runs(pipe, shared_data):
    photos = sorted((shared_data / "single_objects").glob("*.png"))
    assert photos
    for photo in photos:
        output = pipe(photo, generator=torch.Generator().manual_seed(0), output_type="pt")
        assert output.gaussians[0].means.isfinite().all(), photo.name
        scene = output.to_scene()
        assert scene.images.std() > 0.01 and (scene.images.amin((1, 2, 3)) < 0.9).all(), photo.name
