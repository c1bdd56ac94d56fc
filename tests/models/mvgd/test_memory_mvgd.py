"""How plans follow from work and limits; that they hold is measured in tests/pipelines."""

import re
from dataclasses import replace

import pytest
import torch
from small_mvgd import ARCHITECTURES, SMALL

from anyviews.models.mvgd import MVGDTransformerModel, Workload, plan_memory
from anyviews.models.mvgd.memory_mvgd import _ray_features


WORK = Workload(
    views=100,
    stored_views=100,
    generated_views=0,
    pixels_per_view=256,
    prediction_tokens=256,
    tasks=(3, 1),
    members=4,
    bytes_per_value=4,
)


def config_of(**options):
    with torch.device("meta"):
        return MVGDTransformerModel(**{**SMALL, **options}).config


def smallest(config, work: Workload = WORK) -> int:
    with pytest.raises(ValueError, match="max_memory=1 bytes is too little for 100 context views") as error:
        plan_memory(config, work, 1)
    return int(re.search(r"at least (\d+) bytes", str(error.value))[1])


def test_without_a_limit_everything_is_done_at_once():
    plan = plan_memory(config_of(), WORK, None)
    assert (plan.cached, plan.chunk_tokens, plan.members, plan.encoded_views) == (True, None, 4, 16)
    uncached = plan_memory(config_of(), WORK, None, cache_scene=False)
    assert (uncached.cached, uncached.chunk_tokens) == (False, None)
    assert uncached.peak_bytes < plan.peak_bytes


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plans_keep_the_limit_and_the_smallest_one_works(architecture):
    config = config_of(**architecture)
    least = smallest(config)
    assert plan_memory(config, WORK, least).peak_bytes == least
    with pytest.raises(ValueError, match=f"at least {least} bytes"):
        plan_memory(config, WORK, least - 1)
    most = plan_memory(config, WORK, None).peak_bytes
    for limit in range(least, most, (most - least) // 20):
        assert plan_memory(config, WORK, limit).peak_bytes <= limit
    assert plan_memory(config, WORK, most) == plan_memory(config, WORK, None)


def test_context_that_does_not_fit_is_streamed():
    config = config_of()
    plan = plan_memory(config, WORK, smallest(config))
    assert not plan.cached
    assert plan.chunk_tokens == 64
    assert plan.members == 1


def test_one_softmax_over_everything_cannot_be_streamed():
    config = config_of(read_mode="joint")
    assert plan_memory(config, WORK, smallest(config)).chunk_tokens is None


@pytest.mark.parametrize(
    "more",
    [
        {"views": 200, "stored_views": 200}, {"stored_views": 200}, {"generated_views": 90}, {"pixels_per_view": 1024},
        {"prediction_tokens": 512}, {"members": 8}, {"bytes_per_value": 8},
    ],
)  # fmt: skip
def test_more_work_never_needs_less(more):
    config = config_of(token_scene_attention=True)
    larger = replace(WORK, **more)
    assert plan_memory(config, larger, None).peak_bytes >= plan_memory(config, WORK, None).peak_bytes
    if "views" not in more:
        assert smallest(config, larger) >= smallest(config)


@pytest.mark.parametrize("options", [{}, {"ray_encoding_sine_only": True}, {"ray_points": 4, "ray_footprint": True}])
def test_planned_ray_features_cover_the_real_ones(options):
    model = MVGDTransformerModel(**{**SMALL, **options})
    assert model.ray_encoding.features <= _ray_features(model.config) <= model.ray_encoding.features + 6
