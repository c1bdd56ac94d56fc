"""Streaming loses nothing, repeats nothing, and resumes exactly."""

from itertools import islice

import datasets
import pytest
import torch
from tiny_rows import rows
from torchdata.stateful_dataloader import StatefulDataLoader

from anyviews.data import open_samples
from anyviews.data.samples import Sample
from anyviews.data.schema import encode_sample, features
from anyviews.data.shards import write_shards
from anyviews.environment import Environment
from anyviews.views import Views


ROWS = 50


def write_uneven(folder, counts):
    all_rows = rows(sum(counts))
    for index, count in enumerate(counts):
        shard = datasets.Dataset.from_list(list(islice(all_rows, count)), features=features())
        shard.to_parquet(folder / f"train-{index}.parquet")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Equal shards; shards of very unequal length; a number of shards that two ranks cannot share evenly."""
    equal, unequal, odd = (tmp_path_factory.mktemp(name) for name in ("equal", "unequal", "odd"))
    write_shards(rows(ROWS), equal, num_shards=4)
    write_uneven(unequal, [3, 30, 16, 1])
    write_uneven(odd, [20, 13, 17])
    return {"equal": equal, "unequal": unequal, "odd": odd}


def identify(sample):
    assert torch.equal(sample.views.images, torch.full((2, 3, 4, 4), int(sample.key) / 255))
    return sample.key, sample.seed


def identity(batch):
    return batch


def open_loader(folder, workers, epoch=0, rank=0, world_size=1, **options):
    dataset = open_samples(str(folder), rank=rank, world_size=world_size, block=8, transform=identify, **options)
    dataset.set_epoch(epoch)
    return StatefulDataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=identity)


def flatten(batches):
    return [sample for batch in batches for sample in batch]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shards", ["equal", "unequal", "odd"])
def test_two_ranks_see_everything_once(folders, shards, workers):
    read = flatten(b for rank in range(2) for b in open_loader(folders[shards], workers, rank=rank, world_size=2))
    assert sorted(key for key, _ in read) == [f"{i:03d}" for i in range(ROWS)]
    assert len({seed for _, seed in read}) == ROWS


@pytest.mark.parametrize("shards", ["equal", "unequal", "odd"])
@pytest.mark.parametrize(("workers", "epoch", "taken"), [(0, 0, 0), (0, 0, 3), (0, 2, 8), (2, 1, 5)])
def test_resume_is_exact(folders, shards, workers, epoch, taken):
    options = {"rank": 1, "world_size": 2}
    expected = list(open_loader(folders[shards], workers, epoch, **options))
    taken = min(taken, len(expected) - 1)
    stopped = open_loader(folders[shards], workers, epoch, **options)
    stream = iter(stopped)
    assert list(islice(stream, taken)) == expected[:taken]
    state = stopped.state_dict()
    resumed = open_loader(folders[shards], workers, epoch, **options)
    resumed.load_state_dict(state)
    assert list(resumed) == expected[taken:]
    # the resumed loader then starts the next epoch from its beginning
    resumed.dataset.set_epoch(epoch + 1)
    assert list(resumed) == list(open_loader(folders[shards], workers, epoch + 1, **options))


def test_the_state_alone_tells_the_epoch(folders):
    dataset = open_samples(str(folders["equal"]), transform=identify, block=8)
    dataset.set_epoch(3)
    stream = iter(dataset)
    list(islice(stream, 21))
    state = dataset.state_dict()
    resumed = open_samples(str(folders["equal"]), transform=identify, block=8)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert list(resumed) == list(stream)


def test_a_second_pass_of_a_resumed_epoch_starts_at_its_beginning(folders):
    dataset = open_samples(str(folders["equal"]), transform=identify, block=8)
    whole = list(dataset)
    stream = iter(dataset)
    list(islice(stream, 21))
    dataset.load_state_dict(dataset.state_dict())
    assert list(dataset) == whole[21:]
    assert list(dataset) == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_a_finished_epoch_is_followed_by_a_whole_one(folders, workers):
    finished = open_loader(folders["equal"], workers)
    whole = list(finished)
    resumed = open_loader(folders["equal"], workers)
    resumed.load_state_dict(finished.state_dict())
    assert list(resumed) == whole


def test_epochs_and_seeds_differ_in_order_and_in_sample_seeds(folders):
    def read(epoch, seed):
        return flatten(open_loader(folders["equal"], 0, epoch, seed=seed))

    first, second, other = read(0, 0), read(1, 0), read(0, 1)
    for a in (second, other):
        assert sorted(k for k, _ in a) == sorted(k for k, _ in first)
        assert [k for k, _ in a] != [k for k, _ in first]
        assert not {s for _, s in a} & {s for _, s in first}
    assert read(0, 0) == first


def test_columns_that_are_not_asked_for_are_neither_read_nor_decoded(tmp_path):
    views = Views(torch.zeros(1, 3, 4, 4), depths=torch.ones(1, 1, 4, 4), radiance=torch.ones(1, 3, 4, 4))
    row = encode_sample(Sample("hall", views, environment=Environment(torch.ones(3, 4, 8))))
    row["radiance"] = [b"broken"]
    write_shards([row], tmp_path, num_shards=1)
    (sample,) = open_samples(str(tmp_path), columns=["depths"], max_skipped=0.0)
    assert sample.views.depths is not None and sample.views.radiance is None and sample.environment is None
    (sample,) = open_samples(str(tmp_path), columns=[], max_skipped=0.0)
    assert sample.views.depths is None
    with pytest.raises(ValueError, match="column radiance"):
        list(open_samples(str(tmp_path), max_skipped=0.0))
    with pytest.raises(ValueError, match="columns images are unknown; accepted are masks, depths, normals"):
        open_samples(str(tmp_path), columns=["images"])


def test_errors_name_the_argument(folders, tmp_path):
    equal = str(folders["equal"])
    with pytest.raises(TypeError, match=r"does not take blok; accepted are block, columns, max_skipped, revision"):
        open_samples(equal, blok=1)
    with pytest.raises(ValueError, match="rank 1 is outside a world of 1"):
        open_samples(equal, rank=1)
    with pytest.raises(ValueError, match=r"validation.*train"):
        open_samples(equal, split="validation")
    datasets.Dataset.from_dict({"scene_id": ["a"], "text": ["b"]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"lacks the columns camera_to_world, depths, .* of the sample schema"):
        open_samples(str(tmp_path))
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "train.csv").write_text("text\nb\n")
    with pytest.raises(ValueError, match=r"holds \.csv files; convert it to shards"):
        open_samples(str(tmp_path / "csv"))
    for options in ({"block": 0}, {"max_skipped": 2.0}):
        with pytest.raises(ValueError, match=r"accepted are a block of 1 or more rows, and a share"):
            open_samples(equal, **options)
    with pytest.raises(FileNotFoundError, match=r"no-such-folder cannot be opened .* accepted are 'procedural-rooms'"):
        open_samples(str(tmp_path / "no-such-folder"))
