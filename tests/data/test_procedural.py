"""Endless procedural samples: deterministic, disjoint over ranks and workers, exactly resumable."""

from itertools import islice

import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from anyviews.data import open_samples
from anyviews.data.procedural import HELD_OUT_SEED_START, SCENE_SEED_END, ProceduralSamples
from anyviews.environment import Environment
from anyviews.formats.hdr import write_environment


OPTIONS = {"views": 2, "height": 8, "width": 8, "samples": 1, "block": 3, "repeats": 2}


def identity(batch):
    return batch


def summarise(sample):
    return sample.key, sample.seed, sample.views.images


def first(dataset, count):
    return list(islice(dataset, count))


def same(a, b):
    return a.key == b.key and a.seed == b.seed and torch.equal(a.views.images, b.views.images)


def test_equal_arguments_give_equal_samples():
    one, two = (first(open_samples("procedural-rooms", seed=3, **OPTIONS), 8) for _ in range(2))
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    other = first(open_samples("procedural-rooms", seed=4, **OPTIONS), 8)
    assert not {s.key for s in one} & {s.key for s in other}


def test_each_scene_repeats_within_its_block_with_another_seed():
    samples = first(ProceduralSamples(**OPTIONS), 12)
    for block in (samples[:6], samples[6:]):
        keys = [s.key for s in block]
        assert len(set(keys)) == 3 and all(keys.count(k) == 2 for k in keys)
    assert len({s.seed for s in samples}) == 12
    by_key = {}
    for sample in samples:
        assert torch.equal(by_key.setdefault(sample.key, sample).views.images, sample.views.images)


@pytest.mark.parametrize("taken", [0, 1, 4, 6, 7])
def test_resume_is_exact(taken):
    dataset = ProceduralSamples(**OPTIONS)
    stream = iter(dataset)
    first(stream, taken)
    resumed = ProceduralSamples(**OPTIONS)
    resumed.load_state_dict(dataset.state_dict())
    assert resumed.state_dict() == dataset.state_dict()
    assert all(same(a, b) for a, b in zip(first(stream, 8), first(resumed, 8), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_exact_in_a_loader(workers):
    def loader():
        dataset = ProceduralSamples(transform=summarise, **OPTIONS)
        return StatefulDataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=identity)

    whole = loader()
    stream = iter(whole)
    first(stream, 5)
    state = whole.state_dict()
    expected = first(stream, 5)
    resumed = loader()
    resumed.load_state_dict(state)
    for batch, other in zip(expected, first(iter(resumed), 5), strict=True):
        for a, b in zip(batch, other, strict=True):
            assert a[:2] == b[:2] and torch.equal(a[2], b[2])


def test_ranks_and_workers_share_no_scene():
    keys = []
    for rank in range(2):
        dataset = ProceduralSamples(rank=rank, world_size=2, transform=summarise, **OPTIONS)
        loader = StatefulDataLoader(dataset, batch_size=6, num_workers=2, collate_fn=identity)
        keys += [{key for key, *_ in batch} for batch in first(iter(loader), 4)]
    assert len(set.union(*keys)) == sum(map(len, keys)) == 2 * 4 * 3


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_training_never_sees_held_out_scenes(seed):
    train, test = (ProceduralSamples(split=split, seed=seed) for split in ("train", "test"))
    for block in (0, 7, 2**33, 2**40):
        assert all(0 <= s < HELD_OUT_SEED_START for s in train.scene_seeds(block))
        assert all(HELD_OUT_SEED_START <= s < SCENE_SEED_END for s in test.scene_seeds(block))


def test_held_out_scenes_look_different_and_objects_have_masks():
    train, test = (first(open_samples("procedural-objects", split=split, **OPTIONS), 6) for split in ("train", "test"))
    for a in train:
        a.views.validate()
        assert torch.equal(a.views.masks, (a.views.depths > 0).float()) and 0 < a.views.masks.mean() < 1
        assert not any(torch.equal(a.views.images, b.views.images) for b in test)


def test_apartments_carry_maps_light_and_metres():
    stream = open_samples("procedural-apartments", maps=True, metric=True, trajectory="walk", **OPTIONS)
    sample = first(stream, 1)[0]
    sample.views.validate()
    sample.environment.validate()
    assert sample.scale == "metric" and sample.licence == "apache-2.0" and sample.views.radiance is not None
    plain = first(open_samples("procedural-apartments", **OPTIONS), 1)[0]
    assert plain.views.radiance is None and plain.environment is None and plain.scale == "relative"


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="metric and trajectory are for apartments; 'room' has"):
        ProceduralSamples("room", metric=True)
    with pytest.raises(TypeError, match=r"procedural-rooms does not take bloc, sise; accepted are .*block.*height"):
        open_samples("procedural-rooms", bloc=1, sise=2)
    with pytest.raises(ValueError, match=r"'validation' is unknown.*\['test', 'train'\]"):
        open_samples("procedural-objects", split="validation")
    with pytest.raises(ValueError, match="rank 2 is outside a world of 2"):
        ProceduralSamples(rank=2, world_size=2)
    with pytest.raises(ValueError, match=r"taken with 4 readers .* but there are 1"):
        ProceduralSamples().load_state_dict({"block": 0, "offset": 0, "readers": 4})


def test_objects_under_given_light(tmp_path):
    write_environment(Environment(torch.ones(3, 8, 16)), tmp_path / "white.hdr")
    options = {"views": 1, "height": 16, "width": 16, "block": 2}
    sample = next(iter(ProceduralSamples("object", environments=[tmp_path / "white.hdr"], **options)))
    light = sample.environment.radiance
    assert torch.allclose(light, light.mean().expand_as(light), rtol=1e-3)
    with pytest.raises(ValueError, match="environments light objects"):
        ProceduralSamples("room", environments=[tmp_path / "white.hdr"])
