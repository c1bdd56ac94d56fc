"""Mixed sources keep their proportions, lose and repeat nothing, and resume exactly."""

import json
import math
from collections import Counter
from itertools import islice

import pytest
from tiny_rows import rows
from torch.utils.data import IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from anyviews.data import open_samples
from anyviews.data.mixture import MixedSamples, parse_mixture
from anyviews.data.shards import write_shards
from anyviews.training.arguments import DataArguments, parse_arguments
from anyviews.training.method import Method
from anyviews.training.stream import BatchStream


SIZES = {"small": 12, "large": 40}
WORLD = {"views": 1, "height": 4, "width": 4, "samples": 1}


def identify(sample):
    return sample.key, sample.seed


def identity(batch):
    return batch


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two sources with the keys 000 to 011 and 100 to 139."""
    folder = tmp_path_factory.mktemp("sources")
    write_shards(rows(SIZES["small"]), folder / "small", num_shards=2)
    write_shards(rows(SIZES["large"], start=100), folder / "large", num_shards=4)
    return [str(folder / name) for name in SIZES]


def open_mixture(folders, rank=0, world_size=1, weights=(0.25, 0.75), **options):
    return open_samples(
        folders, weights=weights, rank=rank, world_size=world_size, transform=identify, block=4, **options
    )


class Numbers(IterableDataset):
    """An endless source that counts."""

    def __init__(self, name):
        self.name, self.next = name, 0

    def set_epoch(self, epoch):
        pass

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]

    def __iter__(self):
        while True:
            self.next += 1
            yield self.name


def test_proportions_are_within_the_error_of_sampling():
    weights, count = (5.0, 3.0, 2.0), 4000
    mixed = MixedSamples([Numbers(name) for name in "abc"], weights)
    found = Counter(islice(iter(mixed), count))
    for name, weight in zip("abc", weights, strict=True):
        share = weight / 10
        deviation = math.sqrt(count * share * (1 - share))
        assert abs(found[name] - count * share) < 4 * deviation
    pairs = Counter(zip(*(islice(iter(mixed), start, 2000 + start) for start in (0, 1)), strict=True))
    assert abs(pairs["a", "a"] / 2000 - 0.25) < 0.05  # the next choice does not hang on the last


def read_epochs(mixed, count):
    """The keys of each source in the order in which this reader saw them."""
    read = {"small": [], "large": []}
    for key, _ in islice(iter(mixed), count):
        read["small" if int(key) < 100 else "large"].append(key)
    return read


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_sample_of_each_epoch_of_each_source_is_seen_once(folders, world_size):
    by_epoch = {}
    for rank in range(world_size):
        mixed = open_mixture(folders, rank, world_size)
        read = read_epochs(mixed, 160 // world_size)
        for source, name in zip(mixed.sources, SIZES, strict=True):
            epoch = 0
            keys = read[name]
            while keys:
                source.set_epoch(epoch)
                share = len(list(source))
                by_epoch.setdefault((name, epoch), []).append((share, keys[:share]))
                keys, epoch = keys[share:], epoch + 1
    complete = 0
    for (name, _), parts in by_epoch.items():
        seen = [key for _, keys in parts for key in keys]
        assert len(set(seen)) == len(seen)
        if len(parts) == world_size and all(share == len(keys) for share, keys in parts):
            assert len(seen) == SIZES[name]
            complete += 1
    assert complete >= 3


@pytest.mark.parametrize(("workers", "taken"), [(0, 0), (0, 37), (0, 90), (2, 41)])
def test_resume_is_exact(folders, workers, taken):
    def open_loader():
        return StatefulDataLoader(open_mixture(folders, 1, 2), 2, num_workers=workers, collate_fn=identity)

    expected = list(islice(open_loader(), taken + 30))
    stopped = open_loader()
    stream = iter(stopped)
    assert list(islice(stream, taken)) == expected[:taken]
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = open_loader()
    resumed.load_state_dict(state)
    assert list(islice(resumed, 30)) == expected[taken:]


def test_readers_are_disjoint_and_seeds_differ(folders):
    ranks = [list(islice(iter(open_mixture(folders, rank, 2)), 12)) for rank in range(2)]
    assert not set(ranks[0]) & set(ranks[1])
    assert list(islice(iter(open_mixture(folders, seed=1)), 20)) != list(islice(iter(open_mixture(folders)), 20))
    twice = list(islice(iter(open_mixture([folders[0]] * 2, weights=None)), 24))
    assert len({seed for _, seed in twice}) == 24


def test_a_second_pass_starts_at_the_beginning(folders):
    mixed = open_mixture(folders)
    assert list(islice(iter(mixed), 70)) == list(islice(iter(mixed), 70))


def test_procedural_scenes_and_shards(folders):
    text = f"procedural-rooms:0.5,{folders[0]}:1.5"
    options = {"block": 2, **WORLD, folders[0]: {"block": 64}}
    mixed = open_samples(text, transform=identify, **options)
    assert [source.block for source in mixed.sources] == [2, 64] and mixed.weights == [0.25, 0.75]
    keys = [key for key, _ in islice(iter(mixed), 40)]
    rooms = sum(key.startswith("room-") for key in keys)
    assert 2 <= rooms <= 20
    stream = iter(mixed)
    expected = list(islice(stream, 9))
    state = mixed.state_dict()
    resumed = open_samples(text, transform=identify, **options)
    resumed.load_state_dict(state)
    assert list(islice(iter(resumed), 9)) == list(islice(stream, 9)) != expected


def test_the_command_line_of_the_training_scripts(folders):
    (data,) = parse_arguments(DataArguments, argv=["--dataset_name", f"{folders[0]}:1,{folders[1]}:3"])

    class Keys(Method):
        def transform(self, sample):
            return sample.key

        def collate(self, examples):
            return examples

    method = Keys()
    stream = BatchStream(method.open_dataset(data, 0, 1), 4, method.collate)
    first = [next(stream) for _ in range(30)]
    state = json.loads(json.dumps(stream.state_dict()))
    after = [next(stream) for _ in range(5)]
    resumed = BatchStream(method.open_dataset(data, 0, 1), 4, method.collate)
    resumed.load_state_dict(state)
    assert [next(resumed) for _ in range(5)] == after and len(first) == 30


@pytest.mark.parametrize(
    ("text", "names", "weights"),
    [
        ("procedural-rooms", ["procedural-rooms"], None),
        ("a,owner/b", ["a", "owner/b"], None),
        ("a:0.5, /data/b:2", ["a", "/data/b"], [0.5, 2.0]),
        ("C:/data", ["C:/data"], None),
        ("C:/data:1e-1,b:1", ["C:/data", "b"], [0.1, 1.0]),
    ],
)
def test_names_with_weights(text, names, weights):
    assert parse_mixture(text) == (names, weights)


def test_a_folder_whose_name_looks_like_a_mixture(tmp_path):
    write_shards(rows(3), tmp_path / "a:1,b:2", num_shards=1)
    assert len(list(open_samples(str(tmp_path / "a:1,b:2")))) == 3


def test_errors(folders):
    for text in ("a:1,b", "a,,b", ":1"):
        with pytest.raises(ValueError, match="is no mixture; accepted are names with commas"):
            open_samples(text)
    with pytest.raises(ValueError, match=r"2 sources with weights \[1\.0, 0\.0\]; accepted is a positive one"):
        open_mixture(folders, weights=(1.0, 0.0))
    with pytest.raises(ValueError, match="accepted is one of both"):
        open_samples("procedural-rooms:1,procedural-objects:2", weights=[1.0, 2.0])
    with pytest.raises(TypeError, match=r"does not take sise; accepted are .*block.*height.*revision"):
        open_samples(["procedural-rooms", folders[0]], sise=3)
    with pytest.raises(TypeError, match="small does not take height; accepted are"):
        open_samples(["procedural-rooms", folders[0]], **{folders[0]: {"height": 3}})
    state = open_mixture(folders).state_dict()
    with pytest.raises(ValueError, match="taken from small, large but the sources are large, small"):
        open_mixture(folders[::-1]).load_state_dict(state)
    with pytest.raises(ValueError, match=r"taken with 1 readers .* but there are 2"):
        open_mixture(folders, 0, 2).load_state_dict(state)


def test_a_reader_without_samples_of_a_source_says_so(folders):
    mixed = open_mixture(folders, rank=0, world_size=13)
    with pytest.raises(ValueError, match=r"small has no sample for reader 0 of 13; use fewer processes or workers"):
        list(islice(iter(mixed), 40))
